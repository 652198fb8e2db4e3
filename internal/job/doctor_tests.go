package job

// The self-tests of salsa doctor: each kernel that training rests on, beside the formula in plain float64 Go.

import (
	"math"

	"salsa/tensor"
)

// selfTest computes something on a device and returns by how much it is off.
type selfTest struct {
	name      string
	tolerance float64
	run       func(dev tensor.Device) float64
}

// selfTests are sized to take a few milliseconds each. GPUs multiply float32 with fewer bits in some modes, which
// the tolerances leave no room for: such a mode would break the promise of parity.
var selfTests = []selfTest{
	{"matrix product", 1e-4, testMatmul},
	{"sliding-window attention", 1e-5, testWindowAttention},
	{"log-probabilities", 1e-4, testLogProb},
	{"AdamW", 1e-6, testAdamW},
}

// onDevice draws a normal tensor and returns it with its values.
func onDevice(dev tensor.Device, seed uint64, shape ...int) (tensor.Tensor, []float64) {
	t := tensor.Randn(seed, shape...)
	return t.OnDevice(dev), t.Float64s()
}

// apart returns the largest absolute difference; a value that is not finite makes it NaN.
func apart(got tensor.Tensor, want []float64) float64 {
	most := 0.0
	for i, v := range got.Float64s() {
		most = math.Max(most, math.Abs(v-want[i]))
	}
	return most
}

// testMatmul multiplies [n, k] by [k, m].
func testMatmul(dev tensor.Device) float64 {
	const n, k, m = 33, 65, 17
	a, av := onDevice(dev, 1, n, k)
	b, bv := onDevice(dev, 2, k, m)
	want := make([]float64, n*m)
	for i := range want {
		for j := range k {
			want[i] += av[i/m*k+j] * bv[j*m+i%m]
		}
	}
	return apart(a.Matmul(b), want)
}

// testWindowAttention lets each of t tokens see itself and window-1 before it, with two query heads on each
// key-value head: Mistral's attention (Jiang et al., arXiv 2310.06825, §2).
func testWindowAttention(dev tensor.Device) float64 {
	const heads, groups, t, dim, window = 4, 2, 19, 8, 5
	q, qv := onDevice(dev, 3, 1, heads, t, dim)
	k, kv := onDevice(dev, 4, 1, groups, t, dim)
	v, vv := onDevice(dev, 5, 1, groups, t, dim)
	slot := tensor.Arange(t, dev)
	at := slot.Unsqueeze(-1)
	mask := at.GeTensor(slot).And(at.Sub(slot).Lt(window)).Unsqueeze(0).Unsqueeze(0) // [1, 1, T, T]
	scale := 1 / math.Sqrt(dim)
	got := tensor.Attention(q, k, v, mask, false, scale) // [1, H, T, K]
	want := make([]float64, heads*t*dim)
	for row := range heads * t {
		h, i := row/t, row%t
		g := h / (heads / groups)
		total := 0.0
		for j := max(0, i-window+1); j <= i; j++ {
			weight := math.Exp(scale * dot(qv[row*dim:][:dim], kv[(g*t+j)*dim:][:dim]))
			total += weight
			for d := range dim {
				want[row*dim+d] += weight * vv[(g*t+j)*dim+d]
			}
		}
		for d := range dim {
			want[row*dim+d] /= total
		}
	}
	return apart(got, want)
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// testLogProb holds the chunked kernel to log soft-max at temperature 0.7, over more tokens than one chunk. The
// gradient of Σ log p with respect to h is Σ_v (onehot - p)_v w_v / temperature; both are compared.
func testLogProb(dev tensor.Device) float64 {
	const n, d, v, temperature = tensor.LogProbChunk + 5, 4, 11, 0.7
	h, hv := onDevice(dev, 6, n, d)
	w, wv := onDevice(dev, 7, v, d)
	targets := make([]int, n)
	for i := range targets {
		targets[i] = i * 7 % v
	}
	h.RequireGrad(true)
	logp := tensor.LinearLogProb(h, w, tensor.Ints(targets, n).OnDevice(dev), temperature, 0).LogP // [n]
	tensor.Backward(logp.Sum())
	wantLogP, wantGrad := make([]float64, n), make([]float64, n*d)
	for i, y := range targets {
		z := make([]float64, v)
		total := 0.0
		for j := range z {
			z[j] = dot(hv[i*d:][:d], wv[j*d:][:d]) / temperature
			total += math.Exp(z[j])
		}
		wantLogP[i] = z[y] - math.Log(total)
		for j := range z {
			pull := -math.Exp(z[j]) / total
			if j == y {
				pull++
			}
			for c := range d {
				wantGrad[i*d+c] += pull * wv[j*d+c] / temperature
			}
		}
	}
	return math.Max(apart(logp.Detach(), wantLogP), apart(h.Grad(), wantGrad))
}

// testAdamW takes five steps on Σ p² and compares with the definition (Loshchilov & Hutter, arXiv 1711.05101, alg. 2).
func testAdamW(dev tensor.Device) float64 {
	const n = 10
	h := tensor.AdamWHyper{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, WeightDecay: 0.1, Eps: 1e-8}
	p, want := onDevice(dev, 8, n)
	p.RequireGrad(true)
	zeros := func() tensor.Tensor { return tensor.Zeros(tensor.Float32, dev, n) }
	s := tensor.AdamWState{Param: p, M: zeros(), V: zeros(), Step: tensor.Zeros(tensor.Float32, dev)}
	wm, wv := make([]float64, n), make([]float64, n)
	list := func(t tensor.Tensor) []tensor.Tensor { return []tensor.Tensor{t} }
	for k := 1; k <= 5; k++ {
		tensor.ZeroGrads(list(p))
		tensor.Backward(p.Square().Sum())
		if dev == tensor.CPU {
			tensor.AdamWStep([]tensor.AdamWState{s}, h, 1)
		} else {
			tensor.FusedAdamWStep(list(p), list(p.Grad()), list(s.M), list(s.V), list(s.Step), h)
		}
		for i := range want {
			g := 2 * want[i]
			want[i] *= 1 - h.LR*h.WeightDecay
			wm[i] = h.Beta1*wm[i] + (1-h.Beta1)*g
			wv[i] = h.Beta2*wv[i] + (1-h.Beta2)*g*g
			mean, spread := wm[i]/(1-math.Pow(h.Beta1, float64(k))), wv[i]/(1-math.Pow(h.Beta2, float64(k)))
			want[i] -= h.LR * mean / (math.Sqrt(spread) + h.Eps)
		}
	}
	return apart(p.Detach(), want)
}
