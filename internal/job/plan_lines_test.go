package job

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLines: what rows begin with alike counts once, wherever the rows of a prompt end up.
func TestLines(t *testing.T) {
	of := lengthsOf([]int{10, 10, 4}, func(n int) (int, float64) { return n, float64(n) })
	assert.Equal(t, int64(10), of.most)
	assert.Equal(t, line{tokens: 10, places: 10, t: 10}, of.line(1), "the margin never exceeds the longest row")
	assert.InDelta(t, 2, of.shorter, 1e-12)

	even := lengths{most: 48}
	batch := answersOf(even, 32, 4, 16)
	assert.Equal(t, line{8*48 + 32*16, 32 * 64, 64, 32 * 16}, batch.line())
	assert.Equal(t, line{2*48 + 8*16, 8 * 64, 64, 8 * 16}, batch.some(8).line(), "side by side: two prompts")
	assert.Equal(t, batch, batch.some(100))
	assert.Equal(t, batch, batch.shuffled(32), "all prompts")
	assert.Equal(t, int64(1), batch.shuffled(1).prompts)
	// Of 8 prompts one is absent from 8 of 32 answers with the chance 24·23·22·21/(32·31·30·29) = 0.295.
	assert.Equal(t, int64(6), batch.shuffled(8).prompts)
	assert.Equal(t, line{48 + 48 + 2*16, 2*48 + 2*64, 64, 48 + 48 + 2*16}, (&aihfRows{most: 48, prompt: even}).anyShown(2, 16))
	assert.Equal(t, line{11, 13, 9, 3}, line{1, 3, 9, 1}.plus(line{10, 10, 4, 2}))
}
