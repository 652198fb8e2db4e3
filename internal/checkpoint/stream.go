// Streams to one file: what is written is hashed, and sent to the disk, while the caller makes the next bytes.

package checkpoint

import (
	"crypto/sha256"
	"hash"
	"os"
	"sync"
	"sync/atomic"
)

const (
	chunksInFlight = 8       // of bufferSize; what a slow disk may fall behind before the caller waits
	writebackBytes = 8 << 20 // written before the system is asked to begin with them
)

// stream gathers bytes into chunks. A file of one chunk is written by finish; for a longer one two goroutines, one that
// writes and one that hashes, work behind the caller's back in the order of the chunks.
type stream struct {
	f       *os.File
	filling []byte
	free    chan []byte
	write   chan *chunk
	hash    chan *chunk
	sum     hash.Hash
	working sync.WaitGroup
	failed  atomic.Pointer[error] // the first write that failed
	made    int                   // chunks that were allocated
}

// chunk goes back to the free ones when both goroutines are done with it.
type chunk struct {
	bytes []byte
	left  atomic.Int32
}

func newStream(f *os.File) *stream { return &stream{f: f} }

// Write takes p in; an error is that of an earlier chunk.
func (s *stream) Write(p []byte) (int, error) {
	taken := len(p)
	for len(p) > 0 {
		if len(s.filling) == bufferSize {
			if err := s.send(); err != nil {
				return taken - len(p), err
			}
		}
		n := min(len(p), bufferSize-len(s.filling))
		s.filling = append(s.filling, p[:n]...)
		p = p[n:]
	}
	return taken, nil
}

// send hands the full chunk over and takes an empty one.
func (s *stream) send() error {
	if s.sum == nil {
		s.start()
	}
	c := &chunk{bytes: s.filling}
	c.left.Store(2)
	s.write <- c
	s.hash <- c
	if s.made < chunksInFlight {
		s.made++
		s.filling = make([]byte, 0, bufferSize)
	} else {
		s.filling = (<-s.free)[:0]
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *stream) start() {
	s.sum = sha256.New()
	s.made = 1
	s.free = make(chan []byte, chunksInFlight)
	s.write, s.hash = make(chan *chunk, chunksInFlight), make(chan *chunk, chunksInFlight)
	s.working.Add(2)
	go s.writeChunks()
	go func() {
		defer s.working.Done()
		for c := range s.hash {
			s.sum.Write(c.bytes)
			s.done(c)
		}
	}()
}

// writeChunks writes until the disk refuses, and from then on only gives chunks back. The system is asked early to put
// them on the disk: the sync at the end then waits for little more than the last ones.
func (s *stream) writeChunks() {
	defer s.working.Done()
	at, begun := int64(0), int64(0)
	for c := range s.write {
		if s.failed.Load() == nil {
			n, err := guarded{s.f}.Write(c.bytes)
			if at += int64(n); err != nil {
				s.failed.Store(&err)
			} else if at-begun >= writebackBytes {
				startWriteback(s.f, begun, at-begun)
				begun = at
			}
		}
		s.done(c)
	}
}

func (s *stream) done(c *chunk) {
	if c.left.Add(-1) == 0 {
		s.free <- c.bytes
	}
}

// finish writes what is left and waits. sum is the SHA-256 in hex of everything that was written, "" for a file of one
// chunk, which is as quickly read again.
func (s *stream) finish() (sum string, err error) {
	if s.sum == nil {
		if len(s.filling) > 0 {
			_, err = guarded{s.f}.Write(s.filling)
		}
		return "", err
	}
	if len(s.filling) > 0 {
		err = s.send()
	}
	s.stop()
	if failed := s.failed.Load(); failed != nil {
		return "", *failed
	}
	return hexSum(s.sum), err
}

// stop ends the goroutines; a second call does nothing.
func (s *stream) stop() {
	if s.write == nil {
		return
	}
	close(s.write)
	close(s.hash)
	s.working.Wait()
	s.write, s.hash = nil, nil
}
