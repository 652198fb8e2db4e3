// Work on the rows of a file by several goroutines, whose results come in the rows' order: parsing and tokenising keep all
// processors busy while the goroutine that will compute waits for the data.
package data

import (
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"sync"

	"salsa/internal/profile"
)

// blockRows is how many rows are handed over at once: a row alone is less work than handing it over.
const blockRows = 256

// outcome is what work made of a block, or what it panicked with.
type outcome[B any] struct {
	value B
	panic any
}

// task is a block on its way; its outcome comes through done, which has room for it.
type task[A, B any] struct {
	block A
	done  chan outcome[B]
}

// inOrder applies work to each of blocks on as many goroutines as there are processors and hands the results to take, on
// the calling goroutine and in order, until take returns false. blocks is walked on a goroutine of its own, a few blocks
// ahead. Nothing of it runs any more when inOrder returns; a panic of blocks or work comes out of it.
func inOrder[A, B any](blocks iter.Seq[A], work func(A) B, take func(B) bool) {
	defer profile.Begin(profile.WaitData).End()
	workers := runtime.GOMAXPROCS(0)
	tasks, queue := make(chan task[A, B]), make(chan chan outcome[B], 2*workers)
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { handOut(blocks, tasks, queue, stop) })
	for range workers {
		running.Go(func() {
			defer profile.Behind(profile.Data).End()
			for t := range tasks {
				var r outcome[B]
				r.value, r.panic = guarded(work, t.block)
				t.done <- r
			}
		})
	}
	var failed any
	for done := range queue {
		r := <-done
		if failed = r.panic; failed != nil || !take(r.value) {
			break
		}
	}
	close(stop)
	running.Wait()
	if failed != nil {
		panic(failed)
	}
}

// handOut gives each block to the workers and, in order, the place of its outcome to queue, until stop is closed. It
// closes both channels; a panic of blocks becomes the last outcome.
func handOut[A, B any](blocks iter.Seq[A], tasks chan<- task[A, B], queue chan<- chan outcome[B], stop <-chan struct{}) {
	defer profile.Behind(profile.Data).End()
	defer close(queue)
	defer close(tasks)
	ahead := func(done chan outcome[B]) bool {
		select {
		case <-stop:
			return false
		case queue <- done:
			return true
		}
	}
	_, failed := guarded(func(blocks iter.Seq[A]) bool {
		for block := range blocks {
			t := task[A, B]{block, make(chan outcome[B], 1)}
			if !ahead(t.done) {
				break
			}
			tasks <- t // workers go on until tasks is closed
		}
		return true
	}, blocks)
	if failed != nil {
		last := make(chan outcome[B], 1)
		last <- outcome[B]{panic: failed}
		ahead(last)
	}
}

// guarded is work(block), or what it panicked with and where.
func guarded[A, B any](work func(A) B, block A) (out B, failed any) {
	defer func() {
		if p := recover(); p != nil {
			failed = fmt.Sprintf("%v\n%s", p, debug.Stack())
		}
	}()
	return work(block), nil
}
