// Package behind does work in order behind the goroutine that asks for it: lines and checkpoints go to disk while the next
// step is computed. How far it may fall behind is bounded, and its first error ends it.
package behind

import (
	"fmt"
	"runtime/debug"
	"sync"

	"salsa/internal/profile"
)

// Queue does jobs one after another on a goroutine of its own. Do, Wait and Close are for one goroutine, the one whose
// time is to be spared; the time that it is kept in them counts as a wait for disk in a profile.
type Queue struct {
	what  string // phase under which a profile shows the work
	limit int
	done  sync.WaitGroup // of the goroutine

	mu      sync.Mutex
	changed sync.Cond
	jobs    []func() error // the first is being done
	asked   int            // jobs so far
	did     int            // of them, done
	closed  bool
	err     error // of the first job that failed; those after it were not done
}

// New starts a queue that holds at most limit jobs, the one being done among them; what is the phase under which a
// profile shows them. Close ends it.
func New(what string, limit int) *Queue {
	q := &Queue{what: what, limit: max(1, limit)}
	q.changed.L = &q.mu
	q.done.Add(1)
	go q.work()
	return q
}

// Do asks for a job and returns once there is room for it, or with the error of an earlier job: then job will not be done.
func (q *Queue) Do(job func() error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.until(func() bool { return len(q.jobs) < q.limit })
	if q.err != nil {
		return q.err
	}
	q.jobs = append(q.jobs, job)
	q.asked++
	q.changed.Broadcast()
	return nil
}

// Mark returns what waits, on any other goroutine, until all that has been asked for so far is done.
func (q *Queue) Mark() (wait func() error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	mark := q.asked
	return func() error {
		q.mu.Lock()
		defer q.mu.Unlock()
		for q.did < mark && q.err == nil {
			q.changed.Wait()
		}
		return q.err
	}
}

// Err returns the error of the first job that failed so far, and waits for nothing.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Wait returns when everything asked for is done, with the error of the first job that failed.
func (q *Queue) Wait() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.until(func() bool { return len(q.jobs) == 0 })
	return q.err
}

// Close waits and ends the goroutine. It returns what Wait returns; later calls return the same.
func (q *Queue) Close() error {
	err := q.Wait()
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	q.done.Wait()
	return err
}

// until waits for ready. The caller holds the lock.
func (q *Queue) until(ready func() bool) {
	if ready() {
		return
	}
	defer profile.Begin(profile.WaitDisk).End()
	for !ready() {
		q.changed.Wait()
	}
}

// work is the queue's goroutine.
func (q *Queue) work() {
	defer q.done.Done()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.jobs) == 0 && !q.closed {
			q.changed.Wait()
		}
		if len(q.jobs) == 0 {
			return
		}
		job := q.jobs[0]
		q.mu.Unlock()
		err := q.run(job)
		q.mu.Lock()
		q.did++
		if q.jobs = q.jobs[1:]; err != nil {
			q.err, q.jobs = err, nil // Do takes no more from here on
		}
		q.changed.Broadcast()
	}
}

// run does a job outside the lock. A panic becomes an error: on this goroutine it would end the process unsaid.
func (q *Queue) run(job func() error) (err error) {
	defer profile.Behind(q.what).End()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error, please report it: %v\n%s", p, debug.Stack())
		}
	}()
	return job()
}
