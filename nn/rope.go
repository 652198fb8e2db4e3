package nn

// Rotary positions: the inverse frequencies of each way to stretch a context, and the cosines and sines
// of given positions.

import (
	"math"

	"salsa/tensor"
)

// RopeKind names a way to stretch the context, as config.json's rope_type does.
type RopeKind string

// The kinds that salsa computes.
const (
	RopeDefault RopeKind = "default" // Su et al., arXiv 2104.09864, §3.2
	RopeLinear  RopeKind = "linear"  // all positions divided by Factor
	RopeDynamic RopeKind = "dynamic" // a base that grows with the row, beyond MaxPositions
	RopeLlama3  RopeKind = "llama3"  // long wavelengths divided by Factor, short ones kept, a blend between
	RopeYarn    RopeKind = "yarn"    // Peng et al., arXiv 2309.00071, §3
)

// RopeKinds lists all kinds.
var RopeKinds = []RopeKind{RopeDefault, RopeLinear, RopeDynamic, RopeLlama3, RopeYarn}

// Rope is a rotary embedding of heads of Dim dimensions. Fields that a kind does not name are ignored.
type Rope struct {
	Kind         RopeKind
	Dim          int
	Theta        float64 // base of the frequencies
	Factor       float64 // all kinds but default
	MaxPositions int     // dynamic: where stretching begins
	Original     int     // llama3, yarn: positions of the model before stretching
	LowFreq      float64 // llama3: low_freq_factor
	HighFreq     float64 // llama3: high_freq_factor
	BetaFast     float64 // yarn: rotations above which a dimension is kept
	BetaSlow     float64 // yarn: rotations below which a dimension is divided by Factor
	Attention    float64 // yarn: what cosines and sines are multiplied by; 0 stands for 0.1 ln(Factor) + 1
	NoTruncate   bool    // yarn: do not round the bounds of the blend to whole dimensions
}

// Tables returns cosines and sines, each [B, 1, T, Dim/2] fp32, of the int64 positions pos [B, T]. lens, which
// only the dynamic kind reads, gives for each row the number of tokens up to its last position.
func (r *Rope) Tables(pos tensor.Tensor, lens []int) (cos, sin tensor.Tensor) {
	var inv tensor.Tensor // [1 or B, 1, 1, Dim/2]
	if r.Kind == RopeDynamic {
		rows := make([]float32, 0, len(lens)*r.Dim/2)
		for _, n := range lens {
			rows = append(rows, r.Frequencies(n)...)
		}
		inv = tensor.Floats(rows, len(lens), 1, 1, r.Dim/2)
	} else {
		inv = tensor.Floats(r.Frequencies(0), 1, 1, 1, r.Dim/2)
	}
	p := pos.To(tensor.Float32).Unsqueeze(1).Unsqueeze(-1) // [B, 1, T, 1]
	angle := p.Mul(inv.OnDevice(pos.Device()))             // [B, 1, T, Dim/2]
	cos, sin = angle.Cos(), angle.Sin()
	if s := r.Scaling(); s != 1 {
		cos, sin = cos.MulScalar(s), sin.MulScalar(s)
	}
	return cos, sin
}

// Scaling is what cosines and sines are multiplied by: 1 but for yarn, which sharpens attention so
// (arXiv 2309.00071, eq. 22).
func (r *Rope) Scaling() float64 {
	switch {
	case r.Kind != RopeYarn:
		return 1
	case r.Attention != 0:
		return r.Attention
	default:
		return yarnScale(r.Factor, 1)
	}
}

// YarnScale is yarn's attention factor for a model that states two weights of ln(factor), one of which is
// already in its soft-max scale (DeepSeek's mscale and mscale_all_dim).
func YarnScale(factor, mscale, mscaleAllDim float64) float64 {
	return yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim)
}

func yarnScale(factor, weight float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*weight*math.Log(factor) + 1
}

// Frequencies returns the Dim/2 inverse frequencies in fp32, in radians per position, for a row of n tokens.
func (r *Rope) Frequencies(n int) []float32 {
	theta := r.Theta
	if r.Kind == RopeDynamic && n > r.MaxPositions {
		grow := r.Factor*float64(n)/float64(r.MaxPositions) - (r.Factor - 1)
		theta *= math.Pow(grow, float64(r.Dim)/float64(r.Dim-2))
	}
	blend := r.yarnBlend()
	inv := make([]float32, r.Dim/2)
	for i := range inv {
		f := 1 / math.Pow(theta, float64(2*i)/float64(r.Dim))
		switch r.Kind {
		case RopeLinear:
			f /= r.Factor
		case RopeLlama3:
			f = r.llama3(f)
		case RopeYarn:
			f = f/r.Factor*blend(i) + f*(1-blend(i))
		}
		inv[i] = float32(f)
	}
	return inv
}

// llama3 divides frequencies with wavelengths beyond Original/LowFreq by Factor, keeps those below
// Original/HighFreq, and goes from one to the other in between.
func (r *Rope) llama3(f float64) float64 {
	turns := float64(r.Original) * f / (2 * math.Pi) // in the original context
	keep := (turns - r.LowFreq) / (r.HighFreq - r.LowFreq)
	keep = min(max(keep, 0), 1)
	return (1-keep)*f/r.Factor + keep*f
}

// yarnBlend returns how far dimension i is interpolated, from 0 to 1 (arXiv 2309.00071, eq. 18).
func (r *Rope) yarnBlend() func(i int) float64 {
	if r.Kind != RopeYarn {
		return nil
	}
	dim := func(rotations float64) float64 {
		return float64(r.Dim) * math.Log(float64(r.Original)/(rotations*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := dim(r.BetaFast), dim(r.BetaSlow)
	if !r.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(r.Dim-1))
	if low == high {
		high += 0.001 // a step instead of a ramp
	}
	return func(i int) float64 { return min(max((float64(i)-low)/(high-low), 0), 1) }
}
