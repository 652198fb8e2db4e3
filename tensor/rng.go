package tensor

// Random streams with a state that can be saved.

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
)

// RNG is one random stream: PCG-DXSM, seeded by a seed and a stream number, with a state that fits a manifest.
type RNG struct{ pcg *rand.PCG }

// NewRNG makes the stream. Streams of one seed are independent of one another.
func NewRNG(seed, stream uint64) *RNG { return &RNG{rand.NewPCG(seed, splitmix(stream))} }

// Uint64 returns the next 64 bits.
func (r *RNG) Uint64() uint64 { return r.pcg.Uint64() }

// Float64 returns the next uniform in [0, 1).
func (r *RNG) Float64() float64 { return float64(r.pcg.Uint64()>>11) / (1 << 53) }

// Rand gives the methods of math/rand on this stream.
func (r *RNG) Rand() *rand.Rand { return rand.New(r.pcg) }

// MarshalText returns the state in printable form.
func (r *RNG) MarshalText() ([]byte, error) {
	b, err := r.pcg.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(b)), nil
}

// UnmarshalText restores a state.
func (r *RNG) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("random state: %w", err)
	}
	r.pcg = new(rand.PCG)
	return r.pcg.UnmarshalBinary(b)
}

// NormalsAt draws standard normal numbers (Box & Muller, 1958) as a function of stream and place alone: dst[i] is that of
// place at+i, whatever else is drawn. stream is as DropAt wants it.
func NormalsAt(dst []float64, stream uint64, at int) {
	uniform := func(place int) float64 { return float64(splitmix(stream^uint64(place))>>11) / (1 << 53) }
	for i := 0; i < len(dst); i++ {
		even := (at + i) &^ 1 // both numbers of a pair are made of two uniforms
		radius := math.Sqrt(-2 * math.Log(1-uniform(even)))
		sin, cos := math.Sincos(2 * math.Pi * uniform(even+1))
		if at+i != even {
			dst[i] = radius * sin
			continue
		}
		dst[i] = radius * cos
		if i+1 < len(dst) {
			i++
			dst[i] = radius * sin
		}
	}
}

// Mix derives a seed from several numbers, so that neighbouring numbers give unrelated streams.
func Mix(parts ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, p := range parts {
		h = splitmix(h ^ p)
	}
	return h
}

// splitmix is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
