package models_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/models"
)

// FuzzParseConfig: whatever a config.json holds, it is a config or an input error of one line.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*/config*.json")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := models.ParseConfig("config.json", data)
		if err == nil {
			require.Positive(t, c.KVHeads)
			require.Len(t, c.Windowed, c.Layers)
			return
		}
		require.Equal(t, fault.ExitInput, fault.ExitCode(err))
		require.False(t, strings.Contains(err.Error(), "\n"), "%q", err)
	})
}
