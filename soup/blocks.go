package soup

// Going through a weight a block at a time: what is in memory does not grow with the weight, and several blocks are
// read and worked on at once.

import (
	"context"
	"slices"
	"sync"

	"salsa/models"
	"salsa/tensor"
)

// blockSize is how many elements are looked at together: few enough for a core's cache, enough to forget the calls.
const blockSize = 1 << 16

// Inputs are one weight as every checkpoint of a soup has it: floats of one shape, in any float dtype.
type Inputs struct {
	Name    string
	Shape   []int
	Base    models.Source // the model that the members were fine-tuned from; nil if the soup was opened without
	Members []models.Source

	ctx context.Context // ends the going through blocks; nil: nothing does
}

// numel is the number of elements.
func (in Inputs) numel() int {
	n := 1
	for _, d := range in.Shape {
		n *= d
	}
	return n
}

// Block is a stretch of a weight: of the base, empty if there is none, and of the members.
type Block struct {
	at      int // of its first element
	base    tensor.Stretch
	members []tensor.Stretch

	read    [][]byte    // buffers of members and base
	taus    [][]float64 // buffers of task vectors
	zero    []float64   // buffer of the base in float64
	out     []byte      // buffer of a result
	spare   []byte      // buffer of LITI's soup
	moved   []byte      // buffer of a direction
	partial []float64   // buffer of sums that the whole weight's are made of
	equal   int         // entries of one magnitude
	err     error
	done    chan struct{}
}

// pool keeps the buffers of blocks from one weight to the next.
var pool = sync.Pool{New: func() any { return &Block{done: make(chan struct{}, 1)} }}

// grown is a buffer of n elements; what is in it does not matter.
func grown[T any](buf []T, n int) []T { return slices.Grow(buf[:0], n)[:n] }

// size is the number of elements.
func (b *Block) size() int { return b.members[0].Numel() }

// load reads the block. An error is a member's file.
func (b *Block) load(in *Inputs, at int) error {
	size := min(blockSize, in.numel()-at)
	b.at, b.base, b.members = at, tensor.Stretch{}, b.members[:0]
	for len(b.read) < len(in.Members)+1 {
		b.read = append(b.read, nil)
	}
	for k, s := range in.Members {
		stretch, err := b.loadOne(s, k, size)
		if err != nil {
			return err
		}
		b.members = append(b.members, stretch)
	}
	if in.Base == nil {
		return nil
	}
	var err error
	b.base, err = b.loadOne(in.Base, len(in.Members), size)
	return err
}

func (b *Block) loadOne(s models.Source, slot, size int) (tensor.Stretch, error) {
	d := s.DType()
	b.read[slot] = grown(b.read[slot], size*d.Size())
	return tensor.Stretch{Data: b.read[slot], DType: d}, s.ReadAt(b.read[slot], b.at)
}

// tau are the members' differences from the base, or the members themselves if there is none, and the base, zeros if
// there is none, in float64. Both may be overwritten.
func (b *Block) tau() (tau [][]float64, base []float64) {
	n := b.size()
	b.zero = grown(b.zero, n)
	clear(b.zero)
	if b.base.Numel() > 0 {
		b.base.Minus(nil, b.zero)
	}
	for len(b.taus) < len(b.members) {
		b.taus = append(b.taus, nil)
	}
	for k, m := range b.members {
		b.taus[k] = grown(b.taus[k], n)
		m.Minus(b.zero, b.taus[k])
	}
	return b.taus[:len(b.members)], b.zero
}

// result is a stretch of the block's size to write to.
func result(buf *[]byte, n int, d tensor.DType) tensor.Stretch {
	*buf = grown(*buf, n*d.Size())
	return tensor.Stretch{Data: *buf, DType: d}
}

// workers is how many blocks are worked on at once.
func (in Inputs) workers() int {
	return max(1, min(tensor.Threads(), (in.numel()+blockSize-1)/blockSize))
}

// each reads the weight's blocks, works on several at once, each in a goroutine of its own, and hands them to take from
// the first to the last. So many blocks are in memory as there are threads, and two more.
func (in Inputs) each(work func(b *Block) error, take func(b *Block) error) (err error) {
	threads := in.workers()
	todo := make(chan *Block, threads+2)
	var working sync.WaitGroup
	for range threads {
		working.Go(func() {
			for b := range todo {
				if b.err = b.load(&in, b.at); b.err == nil {
					b.err = work(b)
				}
				b.done <- struct{}{}
			}
		})
	}
	var pending []*Block // in the order of the weight
	first := func() {
		b := pending[0]
		pending = pending[1:]
		<-b.done
		if err == nil {
			err = b.err
		}
		if err == nil {
			err = take(b)
		}
		pool.Put(b)
	}
	defer func() { // also when take panics
		close(todo)
		working.Wait()
	}()
	for at := 0; at < in.numel() && err == nil; at += blockSize {
		if len(pending) == threads+2 {
			first()
		}
		if err = in.done(); err != nil {
			break
		}
		b := pool.Get().(*Block)
		b.at = at
		todo <- b
		pending = append(pending, b)
	}
	for len(pending) > 0 {
		first()
	}
	return err
}

// done is the context's error once it is done.
func (in Inputs) done() error {
	if in.ctx == nil {
		return nil
	}
	return in.ctx.Err()
}

// mix hands the mixed weight to take, in stretches from the first element to the last.
func (in Inputs) mix(r Recipe, d tensor.DType, take func(mixed tensor.Stretch, at int) error) error {
	mixer, err := r(in)
	if err != nil {
		return err
	}
	return in.each(func(b *Block) error {
		mixer(result(&b.out, b.size(), d), b)
		return nil
	}, func(b *Block) error {
		return take(tensor.Stretch{Data: b.out, DType: d}, b.at)
	})
}

// only are the inputs of one member.
func (in Inputs) only(k int) Inputs {
	in.Members = in.Members[k : k+1]
	return in
}

// dots are the products of all pairs of members' task vectors, or of the members themselves if there is no base.
func (in Inputs) dots() ([][]float64, error) {
	n := len(in.Members)
	total := make([]float64, n*n)
	err := in.each(func(b *Block) error {
		tau, _ := b.tau()
		b.partial = grown(b.partial, n*n)
		clear(b.partial)
		for i := range n {
			for j := i; j < n; j++ {
				b.partial[i*n+j] = tensor.Dot(tau[i], tau[j])
			}
		}
		return nil
	}, func(b *Block) error {
		for i, v := range b.partial {
			total[i] += v
		}
		return nil
	})
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, n)
		for j := range out[i] {
			out[i][j] = total[min(i, j)*n+max(i, j)]
		}
	}
	return out, err
}
