// Lines for a stream that may stand still: a pipe that nobody reads, a terminal stopped by ^S. Whoever has something to say
// hands it over and goes on.

package metrics

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// maxHeld is how many bytes of text wait for a stream that stands still; beyond that the oldest are given up.
	maxHeld = 1 << 20
	// patience is how long the end of a display waits for a stream that stands still.
	patience = 2 * time.Second
)

// text is what is to be written at once.
type text struct {
	bytes  []byte
	status bool // a later status makes it worthless
}

// lines writes texts to out in their order on a goroutine that lives while there are any. What out answers is nobody's
// concern: a closed standard error is no reason to stop a run.
type lines struct {
	out io.Writer

	mu    sync.Mutex
	held  []text
	size  int           // bytes held
	lost  int           // texts given up since the last one written
	ended chan struct{} // closed when the goroutine ends; nil while there is none
}

// put hands text over. A status replaces one that is not written yet.
func (l *lines) put(bytes []byte, status bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.held, func(t text) bool { return t.status }); status && i >= 0 {
		l.size -= len(l.held[i].bytes)
		l.held = slices.Delete(l.held, i, i+1)
	}
	l.held = append(l.held, text{bytes, status})
	l.size += len(bytes)
	for l.size > maxHeld && len(l.held) > 1 {
		l.size -= len(l.held[0].bytes)
		l.held = l.held[1:]
		l.lost++
	}
	if l.ended == nil {
		l.ended = make(chan struct{})
		go l.write(l.ended)
	}
}

// write is the goroutine.
func (l *lines) write(ended chan struct{}) {
	defer close(ended)
	for {
		bytes := l.next()
		if bytes == nil {
			return
		}
		_, _ = l.out.Write(bytes)
	}
}

// next takes the first text, after a line about those that were given up; nil, and the goroutine's end, where there is none.
func (l *lines) next() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		note := fmt.Sprintf("(%d lines are not shown: nobody took them)\n", l.lost)
		l.lost = 0
		return []byte(note)
	}
	if len(l.held) == 0 {
		l.ended = nil
		return nil
	}
	first := l.held[0]
	l.held = l.held[1:]
	l.size -= len(first.bytes)
	return first.bytes
}

// flush waits until all is written, at most for limit, and tells whether it is.
func (l *lines) flush(limit time.Duration) bool {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	return ended == nil || within(limit, ended)
}

// within waits for done, at most for limit, and tells whether it came.
func within(limit time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
