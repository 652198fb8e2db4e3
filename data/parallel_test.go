package data

// Rows that are parsed and encoded by many goroutines are those that one would give, in its order, with its first error.

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onProcessors runs f with one goroutine at work and with several.
func onProcessors(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{1, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			f(t)
		})
	}
}

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestInOrder(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, limit := range []int{0, 1, 7, 200, 1000} {
			var got []int
			inOrder(count(200), func(i int) int { return i * i }, func(v int) bool {
				got = append(got, v)
				return len(got) < limit
			})
			require.Len(t, got, max(1, min(limit, 200)))
			for i, v := range got {
				require.Equal(t, i*i, v)
			}
		}
		inOrder(count(0), func(i int) int { return i }, func(int) bool { t.Error("nothing is to be taken"); return true })
	})
}

func TestInOrderPanics(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		taken := 0
		take := func(int) bool { taken++; return true }
		panics := func(f func()) {
			defer func() { assert.Contains(t, fmt.Sprint(recover()), "bang") }()
			f()
		}
		panics(func() {
			inOrder(count(100), func(i int) int {
				if i == 5 {
					panic("bang")
				}
				return i
			}, take)
		})
		require.Equal(t, 5, taken)
		panics(func() {
			inOrder(func(yield func(int) bool) { yield(1); panic("bang") }, func(i int) int { return i }, take)
		})
		require.Equal(t, 6, taken)
	})
}

func TestManyRows(t *testing.T) {
	var b strings.Builder
	const n = 5*blockRows + 17
	for i := range n {
		fmt.Fprintf(&b, `{"prompt_ids":[1],"completion_ids":[%d]}`+"\n", i)
	}
	file := write(t, "many.jsonl", b.String())
	onProcessors(t, func(t *testing.T) {
		rows, err := ReadAll(file, ReadOptions{})
		require.NoError(t, err)
		require.Len(t, rows, n)
		enc := NewEncoder(nil, -1, -1)
		got, counts, err := EncodeAll(rows, func(r *Row) (Example, error) {
			switch {
			case r.Line%100 == 1:
				return Example{}, &Skip{r.At(), SkipOverlong}
			case r.Line%100 == 2:
				return Example{}, &Skip{r.At(), SkipEmpty}
			}
			x, err := enc.SFT(r)
			x.Cut = 2 * (r.Line % 2)
			return x, err
		})
		require.NoError(t, err)
		assert.Equal(t, Counts{Rows: n, Kept: n - 26, Truncated: n/2 - 12, CutTokens: n - 25, Overlong: 13, Empty: 13}, counts)
		at := 0
		for i := range got {
			require.Greater(t, got[i].Row.Line, at)
			at = got[i].Row.Line
			require.Equal(t, at-1, got[i].IDs[1])
		}
	})
}

// Of several bad rows the first is named, whichever is met first.
func TestFirstBadRow(t *testing.T) {
	rows := make([]Row, 6*blockRows)
	for i := range rows {
		rows[i].Line = i + 1
	}
	lines := strings.Repeat(`{"text":"x"}`+"\n", 2*blockRows)
	file := write(t, "bad.jsonl", lines+`{"text":1}`+"\n"+lines+`{"text":2}`+"\n{")
	onProcessors(t, func(t *testing.T) {
		for range 20 {
			_, counts, err := EncodeAll(rows, func(r *Row) (Example, error) {
				if r.Line > 3*blockRows {
					return Example{}, errors.New(fmt.Sprint("row ", r.Line))
				}
				return Example{Cut: 1}, nil
			})
			require.EqualError(t, err, fmt.Sprint("row ", 3*blockRows+1))
			require.Equal(t, 3*blockRows, counts.Truncated)
			_, err = ReadAll(file, ReadOptions{})
			require.ErrorContains(t, err, fmt.Sprintf("bad.jsonl:%d:", 2*blockRows+1))
		}
	})
}
