package tensor_test

// The kernels of stretches against the same arithmetic in Go, bit for bit, at lengths that fill no vector.

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

var floatTypes = []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float32, tensor.Float64}

// stretchOf rounds values to a type by libtorch and returns them, and what they have become.
func stretchOf(values []float64, d tensor.DType) (tensor.Stretch, []float64) {
	t := tensor.Doubles(values, len(values)).To(d)
	return tensor.Stretch{Data: t.Bytes(), DType: d}, t.Float64s()
}

func normals(seed uint64, n int) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float64, n)
	for i := range out {
		out[i] = rng.NormFloat64() * math.Exp(3*rng.NormFloat64())
	}
	return out
}

// twoSum is Lincomb's element.
func twoSum(w, x []float64) float64 {
	sum, err := 0.0, 0.0
	for k := range w {
		b := float64(w[k] * x[k])
		s := float64(sum + b)
		back := float64(s - sum)
		err += float64(sum-float64(s-back)) + float64(b-back)
		sum = s
	}
	return sum + err
}

func TestLincombStretch(t *testing.T) {
	run(t, func() {
		for _, n := range []int{0, 1, 7, 1024, 5003} {
			for _, d := range floatTypes {
				var src []tensor.Stretch
				var at [][]float64
				for k, from := range floatTypes { // members of different types
					s, v := stretchOf(normals(uint64(k), n), from)
					src, at = append(src, s), append(at, v)
				}
				w := []float64{.3, -1.2, 1.1, .8}
				want := make([]float64, n)
				for i := range want {
					want[i] = twoSum(w, []float64{at[0][i], at[1][i], at[2][i], at[3][i]})
				}
				rounded, _ := stretchOf(want, d)
				got := tensor.Stretch{Data: make([]byte, n*d.Size()), DType: d}
				tensor.LincombStretch(got, src, w)
				require.Equal(t, rounded.Data, got.Data, "%d of %s", n, d)
				got.Set(want)
				require.Equal(t, rounded.Data, got.Data, "%d of %s, set", n, d)
			}
		}
		a, _ := stretchOf([]float64{1, 2}, tensor.Float32)
		b, _ := stretchOf([]float64{math.Inf(1), math.NaN()}, tensor.Float32)
		got := tensor.Stretch{Data: make([]byte, 8), DType: tensor.Float32}
		tensor.LincombStretch(got, []tensor.Stretch{a, b}, []float64{1, 0})
		assert.Equal(t, a.Data, got.Data, "weight 0 is not looked at")
		assert.Equal(t, a.Data[4:], a.From(1, 1).Data)
		assert.Panics(t, func() { tensor.LincombStretch(got, []tensor.Stretch{a.From(0, 1)}, []float64{1}) })
	})
}

func TestFinite(t *testing.T) {
	run(t, func() {
		for _, d := range floatTypes {
			for _, n := range []int{1, 40, 70001} {
				for _, bad := range []float64{math.Inf(1), math.Inf(-1), math.NaN()} {
					v := normals(1, n)
					for i := range v {
						v[i] = math.Mod(v[i], 60000) // finite in float16
					}
					s, _ := stretchOf(v, d)
					require.True(t, s.Finite())
					require.True(t, tensor.FromBytes(s.Data, d, n).AllFinite())
					v[n*2/3] = bad
					s, _ = stretchOf(v, d)
					require.False(t, s.Finite(), "%g in %s", bad, d)
					require.False(t, tensor.FromBytes(s.Data, d, n).AllFinite())
				}
			}
		}
		assert.True(t, tensor.Stretch{DType: tensor.Float32}.Finite(), "of nothing all is finite")
		largest := binary.LittleEndian.AppendUint32(nil, math.Float32bits(math.MaxFloat32))
		assert.True(t, tensor.Stretch{Data: largest, DType: tensor.Float32}.Finite())
	})
}

func TestTaskVectors(t *testing.T) {
	const n = 3001
	run(t, func() {
		base := normals(9, n)
		for _, d := range floatTypes {
			s, v := stretchOf(normals(3, n), d)
			tau := make([]float64, n)
			s.Minus(nil, tau)
			require.Equal(t, v, tau)
			s.Minus(base, tau)
			for i := range v {
				require.Equal(t, v[i]-base[i], tau[i])
			}
		}
		a, b := normals(1, n), normals(2, n)
		var lanes [4]float64
		for i := range n - n%4 {
			lanes[i%4] += float64(a[i] * b[i])
		}
		for i := n - n%4; i < n; i++ {
			lanes[0] += float64(a[i] * b[i])
		}
		assert.Equal(t, lanes[0]+lanes[1]+lanes[2]+lanes[3], tensor.Dot(a, b))

		drawn, stream := append([]float64(nil), a...), tensor.Mix(5)
		tensor.DropAt(drawn, stream, 100, 1<<52, 3)
		for i := range a {
			want := 0.0
			if tensor.Mix(5, uint64(100+i))>>11 < 1<<52 {
				want = 3 * a[i]
			}
			require.Equal(t, want, drawn[i])
		}
	})
}

func TestTrim(t *testing.T) {
	two := math.Float32bits(2)
	tau := []float64{1, -2, 3, 2, -1.9999, 2, -5}
	tensor.Trim(tau, two, 4)
	assert.Equal(t, []float64{0, -2, 3, 2, 0, 0, -5}, tau, "of equals those before entry 4")
	tau = []float64{2, -2, 3}
	tensor.Trim(tau, two, -7)
	assert.Equal(t, []float64{0, 0, 3}, tau)
	tensor.Trim(nil, two, 0)
}

func TestConsensus(t *testing.T) {
	const n = 2500
	w := []float64{.5, .2, .3}
	tau := [][]float64{normals(1, n), normals(2, n), normals(3, n)}
	tau[0][0], tau[1][0], tau[2][0] = 0, 3, -2 // a sum of zero
	for i := 1; i < n; i += 3 {
		tau[i%3][i] = 0
	}
	for _, how := range []tensor.Votes{tensor.AllVotes, tensor.WinningMean, tensor.WinningSum} {
		got := normals(4, n)
		want := append([]float64(nil), got...)
		for i := range want {
			want[i] += float64(.7 * elected(w, []float64{tau[0][i], tau[1][i], tau[2][i]}, how))
		}
		tensor.AddConsensus(got, tau, w, how, .7)
		assert.Equal(t, want, got, "%d", how)
	}
}

// elected is the consensus of one entry.
func elected(w, v []float64, how tensor.Votes) float64 {
	sum, total, share := 0.0, 0.0, 0.0
	for k := range w {
		sum += float64(w[k] * v[k])
	}
	if how == tensor.AllVotes {
		return sum
	}
	for k := range w {
		if x := float64(w[k] * v[k]); x > 0 && sum >= 0 || x < 0 && sum < 0 {
			total += x
			share += w[k]
		}
	}
	if how == tensor.WinningMean && share != 0 {
		return total / share
	}
	return total
}

// What matrix products do to a whole weight, SetFolded does to any stretch of it.
func TestSetFolded(t *testing.T) {
	const rows, cols, rank = 37, 1500, 16
	run(t, func() {
		b, a := tensor.Randn(1, rows, rank), tensor.Randn(2, rank, cols)
		for _, d := range floatTypes {
			w := tensor.Randn(3, rows, cols).To(d)
			to := tensor.Float32
			if d == tensor.Float64 {
				to = d
			}
			want := w.To(to).Add(b.Matmul(a).MulScalar(.3)).Bytes()
			all, got := tensor.Stretch{Data: w.Bytes(), DType: d}, tensor.Stretch{Data: make([]byte, len(want)), DType: to}
			for at := 0; at < rows*cols; at += 4001 {
				n := min(4001, rows*cols-at)
				got.From(at, n).SetFolded(all.From(at, n), b.Float32s(), a.Float32s(), rank, .3, at)
			}
			require.Equal(t, want, got.Data, d)
			require.Panics(t, func() { got.SetFolded(all, b.Float32s(), a.Float32s(), rank, .3, 1) }, "beyond the end")
		}
	})
}

func TestCounts(t *testing.T) {
	tau := normals(5, 3001)
	high, low := make([]int, tensor.MagnitudeHigh), make([]int, tensor.MagnitudeLow)
	wantHigh, wantLow := make([]int, tensor.MagnitudeHigh), make([]int, tensor.MagnitudeLow)
	of := func(v float64) int { return int(math.Float32bits(float32(math.Abs(v)))) }
	first, equal := of(tau[0]), 0
	for _, v := range tau {
		wantHigh[of(v)/tensor.MagnitudeLow]++
		if of(v)/tensor.MagnitudeLow == first/tensor.MagnitudeLow {
			wantLow[of(v)%tensor.MagnitudeLow]++
		}
		if of(v) == first {
			equal++
		}
	}
	tensor.CountHigh(high, tau[:1000])
	tensor.CountHigh(high, tau[1000:])
	tensor.CountLow(low, tau, first/tensor.MagnitudeLow)
	assert.Equal(t, wantHigh, high)
	assert.Equal(t, wantLow, low)
	assert.Equal(t, equal, tensor.CountEqual(tau, uint32(first)))
}

func TestNormalsAt(t *testing.T) {
	const n = 100001
	all := make([]float64, n)
	tensor.NormalsAt(all, tensor.Mix(1), 0)
	for _, at := range []int{0, 1, 4, 777} { // odd and even
		part := make([]float64, 9)
		tensor.NormalsAt(part, tensor.Mix(1), at)
		require.Equal(t, all[at:at+9], part, "%d", at)
	}
	var moments [4]float64
	within := 0.0
	for _, v := range all {
		for k := range moments {
			moments[k] += math.Pow(v, float64(k+1)) / n
		}
		if math.Abs(v) < 1 {
			within += 1. / n
		}
	}
	for k, want := range []float64{0, 1, 0, 3} {
		assert.InDelta(t, want, moments[k], .06, "moment %d", k+1)
	}
	assert.InDelta(t, .6827, within, .01)
	assert.InDelta(t, 0, tensor.Dot(all[1:], all[:n-1])/n, .02, "neighbours are independent")
}
