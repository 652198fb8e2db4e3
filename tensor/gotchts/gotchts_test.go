package gotchts_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"salsa/tensor"
	"salsa/tensor/gotchts"
)

func TestRoundTrip(t *testing.T) {
	before := tensor.Live()
	require.NoError(t, tensor.Run(func() error {
		g := ts.MustOfSlice([]float32{1, 2, 3})
		s, err := gotchts.FromGotch(g)
		require.NoError(t, err)
		g.MustDrop()
		assert.Equal(t, []float32{1, 2, 3}, s.Float32s(), "elements outlive gotch's handle")
		back := gotchts.Gotch(s.MulScalar(2))
		assert.Equal(t, []float64{2, 4, 6}, back.Float64Values())
		back.MustDrop()
		_, err = gotchts.FromGotch(nil)
		assert.Error(t, err)
		return nil
	}))
	assert.Equal(t, before, tensor.Live())
}
