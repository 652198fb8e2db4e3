package trainers

// The reference's log-probabilities of a set of pairs: computed once, before training, and kept on disk under a hash of
// everything they depend on, so that a resumed run, or a sweep over losses and settings, does not load the reference.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/tensor"
)

// Reference is the frozen model of a preference run.
type Reference struct {
	Load     func() (models.Model, error) // called only if the numbers are not on disk; the model is freed after use
	ID       string                       // content hash of the weights, and all else that the numbers depend on
	CacheDir string                       // where the numbers are kept; "" keeps nothing
	Micro    int                          // pairs computed at once; 0: all
	Progress func(done, total int)        // pairs computed so far; may be nil
}

// RefLogProbs are the reference's Σ_t log π_ref(y_t|·) of a pair's completions.
type RefLogProbs struct{ Chosen, Rejected float64 }

// unknown stands for the numbers of a pair that nobody has asked for; a loss that reads them is not finite.
var unknown = RefLogProbs{math.NaN(), math.NaN()}

// LogProbs returns one RefLogProbs per pair, from the cache or, without autograd, from the model. Only those of the
// wanted indices, nil being all, are computed if they are not on disk; other pairs may be left NaN. A damaged cache file
// is reported on standard error and written anew.
func (r *Reference) LogProbs(ctx context.Context, pairs []data.Pair, wanted []int) ([]RefLogProbs, error) {
	defer profile.Begin(profile.LogProbs).End()
	key := r.key(pairs)
	path := ""
	out := slices.Repeat([]RefLogProbs{unknown}, len(pairs))
	if r.CacheDir != "" {
		path = filepath.Join(r.CacheDir, "reference-"+key[:16]+".json")
		if err := readRefCache(path, key, out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "salsa: %v; computing the reference's log-probabilities again\n", err)
		}
	}
	if wanted == nil {
		wanted = indices(len(pairs))
	}
	missing := slices.DeleteFunc(slices.Clone(wanted), func(i int) bool { return !math.IsNaN(out[i].Chosen) })
	if len(missing) == 0 {
		return out, nil
	}
	if err := r.compute(ctx, pairs, missing, out); err != nil || path == "" {
		return out, err
	}
	return out, writeRefCache(path, key, out)
}

// indices are 0…n-1.
func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// compute runs the model over the pairs at the given indices, the longest first; its weights live no longer than the call.
func (r *Reference) compute(ctx context.Context, pairs []data.Pair, at []int, out []RefLogProbs) error {
	order := byLength(at, func(i int) int { return pairLength(pairs[i]) })
	return tensor.NoGrad(func() error {
		m, err := r.Load()
		if err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		for _, part := range split(len(order), r.Micro) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := refPart(m, pairs, order[part[0]:part[1]], out); err != nil {
				return err
			}
			if r.Progress != nil {
				r.Progress(part[1], len(order))
			}
		}
		return nil
	})
}

// refPart fills out for the pairs at the given indices.
func refPart(m models.Model, pairs []data.Pair, at []int, out []RefLogProbs) error {
	return tensor.NoGrad(func() error {
		p := scorePairs(m, pick(pairs, at), 1)
		w, l := p.sums.Chosen.Float64s(), p.sums.Rejected.Float64s()
		for i, j := range at {
			if !isFinite(w[i]) || !isFinite(l[i]) {
				return fault.Inputf("%s: the reference's log-probabilities are %g and %g; check its weights, or leave the row out", placeOf(pairs[j], j), w[i], l[i])
			}
			out[j] = RefLogProbs{w[i], l[i]}
		}
		return nil
	})
}

// key hashes the reference's ID and the pairs' ids and targets.
func (r *Reference) key(pairs []data.Pair) string {
	h := sha256.New()
	fmt.Fprintf(h, "salsa reference log-probabilities 1\n%q\n%d\n", r.ID, len(pairs))
	for _, p := range pairs {
		hashExample(h, p.Chosen)
		hashExample(h, p.Rejected)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hashExample(h hash.Hash, x data.Example) {
	buf := binary.LittleEndian.AppendUint64(nil, uint64(len(x.IDs)))
	for i, id := range x.IDs {
		v := uint64(id) << 1
		if x.Mask[i] {
			v |= 1
		}
		buf = binary.LittleEndian.AppendUint64(buf, v)
	}
	h.Write(buf)
}

// refCache is the file: numbers, what they belong to, and a checksum of both.
type refCache struct {
	Key      string    `json:"key"`             // of the reference and all pairs, also those without numbers
	Pairs    []int     `json:"pairs,omitempty"` // indices of those that the numbers belong to; none: all
	Chosen   []float64 `json:"chosen"`
	Rejected []float64 `json:"rejected"`
	SHA256   string    `json:"sha256"`
}

// sum hashes key and numbers bit by bit.
func (c *refCache) sum() string {
	h := sha256.New()
	fmt.Fprintln(h, c.Key)
	if len(c.Pairs) > 0 {
		fmt.Fprintln(h, c.Pairs)
	}
	for _, side := range [][]float64{c.Chosen, c.Rejected} {
		_ = binary.Write(h, binary.LittleEndian, int64(len(side))) // a hash takes everything
		_ = binary.Write(h, binary.LittleEndian, side)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readRefCache fills out with the numbers of a cache file; fs.ErrNotExist says that there is none, any other error that
// it is damaged, and then out is as it was.
func readRefCache(path, key string, out []RefLogProbs) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var c refCache
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("%s: damaged: %w", path, err)
	}
	at := c.Pairs
	if len(at) == 0 {
		at = indices(len(out))
	}
	if c.Key != key || len(c.Chosen) != len(at) || len(c.Rejected) != len(at) || c.SHA256 != c.sum() {
		return fmt.Errorf("%s: damaged: its numbers do not match their checksum", path)
	}
	for i, j := range at {
		out[j] = RefLogProbs{c.Chosen[i], c.Rejected[i]}
	}
	return nil
}

// writeRefCache keeps the numbers that are known.
func writeRefCache(path, key string, values []RefLogProbs) error {
	c := refCache{Key: key}
	for i, v := range values {
		if !math.IsNaN(v.Chosen) {
			c.Pairs, c.Chosen, c.Rejected = append(c.Pairs, i), append(c.Chosen, v.Chosen), append(c.Rejected, v.Rejected)
		}
	}
	if len(c.Pairs) == len(values) {
		c.Pairs = nil
	}
	c.SHA256 = c.sum()
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fault.Inputf("%w; choose a writable --cache-dir", err)
	}
	return checkpoint.WriteFileAtomic(path, raw)
}
