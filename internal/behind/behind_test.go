package behind

// Order, bound and errors of a queue, by the order of events alone.

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQueueKeepsOrder(t *testing.T) {
	q := New("test", 3)
	var got []int
	for i := range 100 {
		require.NoError(t, q.Do(func() error { got = append(got, i); return nil }))
	}
	require.NoError(t, q.Wait())
	require.Len(t, got, 100)
	for i, v := range got {
		assert.Equal(t, i, v)
	}
	require.NoError(t, q.Close())
	require.NoError(t, q.Close())
}

// A job that hangs lets limit-1 others be asked for; the next has to wait until it is done.
func TestQueueBound(t *testing.T) {
	for _, limit := range []int{1, 2, 5} {
		q := New("test", limit)
		release, started := make(chan struct{}), make(chan struct{})
		var done atomic.Int32
		require.NoError(t, q.Do(func() error { close(started); <-release; done.Add(1); return nil }))
		<-started
		for range limit - 1 {
			require.NoError(t, q.Do(func() error { done.Add(1); return nil }))
		}
		require.Zero(t, done.Load(), "none of them waited")
		asked := make(chan struct{})
		go func() {
			assert.NoError(t, q.Do(func() error { return nil }))
			assert.Positive(t, done.Load(), "the job that hung is done before the one beyond the bound is taken")
			close(asked)
		}()
		close(release)
		<-asked
		require.NoError(t, q.Close())
	}
}

// After a failure nothing more is done, and whoever asks or waits is told, again and again.
func TestQueueError(t *testing.T) {
	q := New("test", 4)
	boom := errors.New("disk full")
	release := make(chan struct{})
	require.NoError(t, q.Do(func() error { <-release; return boom }))
	after := 0
	require.NoError(t, q.Do(func() error { after++; return nil }))
	require.NoError(t, q.Err())
	close(release)
	require.ErrorIs(t, q.Wait(), boom)
	require.ErrorIs(t, q.Do(func() error { after++; return nil }), boom)
	require.ErrorIs(t, q.Err(), boom)
	require.ErrorIs(t, q.Close(), boom)
	require.Zero(t, after)
}
