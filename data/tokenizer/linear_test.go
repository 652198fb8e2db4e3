package tokenizer

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cpuTime returns the time that the calling thread computed while fn ran, the lesser of two.
func cpuTime(t *testing.T, fn func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const thisThread = 1 // RUSAGE_THREAD
	least := time.Hour
	for range 2 {
		var before, after syscall.Rusage
		require.NoError(t, syscall.Getrusage(thisThread, &before))
		fn()
		require.NoError(t, syscall.Getrusage(thisThread, &after))
		least = min(least, time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()))
	}
	return least
}

// TestLinearTime holds that a text of 1 MB takes about as long as its sixteen parts, both ways. Quadratic work would
// take 16 times as long.
func TestLinearTime(t *testing.T) {
	for _, name := range []string{"cross", "gpt2"} {
		tok := loadGolden(t, name)
		part := longText(t, name)
		text := strings.Repeat(part, 1+1<<20/len(part))[:1<<20]
		var texts []string
		var parts [][]int
		for i := 0; i < len(text); i += len(text) / 16 {
			texts = append(texts, text[i:i+len(text)/16])
			parts = append(parts, tok.Encode(texts[len(texts)-1], false))
		}
		ids := tok.Encode(text, false)
		stream := func(ids []int) int {
			s, n := tok.Stream(false), 0
			for _, id := range ids {
				n += len(s.Push(id))
			}
			return n + len(s.Flush())
		}
		assert.Equal(t, len(tok.Decode(ids, false)), stream(ids), name)
		for what, fn := range map[string]func(text string, ids []int){
			"Encode":        func(text string, _ []int) { tok.Encode(text, false) },
			"EncodeOffsets": func(text string, _ []int) { tok.EncodeOffsets(text, false) },
			"Decode":        func(_ string, ids []int) { tok.Decode(ids, false) },
			"Stream":        func(_ string, ids []int) { stream(ids) },
		} {
			whole := cpuTime(t, func() { fn(text, ids) })
			cut := cpuTime(t, func() {
				for i := range texts {
					fn(texts[i], parts[i])
				}
			})
			t.Logf("%s %s: %v, in parts %v", name, what, whole, cut)
			assert.Less(t, whole, 6*cut, "%s %s", name, what)
		}
	}
}
