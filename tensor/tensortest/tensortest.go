// Package tensortest is the frame of every test that computes with tensors.
package tensortest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// Run computes fn as tensor.Run does and proves that it left no tensor behind.
func Run(t *testing.T, fn func()) {
	t.Helper()
	before := tensor.Live()
	require.NoError(t, tensor.Run(func() error { fn(); return nil }))
	require.Equal(t, before, tensor.Live(), "tensors leaked")
}
