package job

// Places and token ids that no run can use are refused before it starts.

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
)

func TestOutFileIsNoDevice(t *testing.T) {
	assert.ErrorContains(t, checkOutFile(os.DevNull), "is not a file", "a rename would replace the device")
	assert.ErrorContains(t, checkOutFile(t.TempDir()), "is a folder")
}

func TestEOSOutsideTheVocabulary(t *testing.T) {
	const dir = "../../models/testdata/llama-mha"
	for eos, wrong := range map[int]bool{-5: true, 2: false, 66: false, 67: true} {
		cfg, err := models.ReadConfig(dir)
		require.NoError(t, err)
		cfg.EOS = []int{eos}
		if _, err = newEncoder(dir, cfg, 0, "error"); wrong {
			assert.ErrorContains(t, err, "is not a token of the model, whose vocab_size is 67")
		} else {
			assert.NoError(t, err)
		}
	}
}
