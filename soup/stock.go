package soup

// Model Stock.

import "math"

// ModelStock is t·mean(θ_k) + (1-t)·base with t = N·c/(1+(N-1)c), tensor by tensor, c being the mean cosine of the
// angles between the N members' task vectors (Jang et al., arXiv 2403.19522, eq. 2 and appendix). One member has t = 1.
// A zero task vector has cosine 0, and where 1+(N-1)c < 1e-6 in size there is no estimate and the base stays, as in
// mergekit's model_stock. mergekit differs for tiny task vectors, whose norms' product it takes for 1e-6 at least.
func ModelStock() Recipe {
	return func(in Inputs) (Mixer, error) {
		dots, err := in.dots()
		if err != nil {
			return nil, err
		}
		n := len(in.Members)
		t := stockRatio(n, meanCosine(dots))
		c := make([]float64, n)
		for k := range c {
			c[k] = t / float64(n)
		}
		return aroundBase(c), nil
	}
}

// meanCosine is the mean over all pairs of vectors, given by their products; 1 if there is one vector alone.
func meanCosine(dots [][]float64) float64 {
	sum, pairs := 0.0, 0
	for i := range dots {
		for j := i + 1; j < len(dots); j++ {
			pairs++
			if dots[i][i] > 0 && dots[j][j] > 0 {
				sum += max(-1, min(1, dots[i][j]/(math.Sqrt(dots[i][i])*math.Sqrt(dots[j][j]))))
			}
		}
	}
	if pairs == 0 {
		return 1
	}
	return sum / float64(pairs)
}

// stockRatio is how far the mean of n members keeps from the base.
func stockRatio(n int, cos float64) float64 {
	below := 1 + float64(n-1)*cos
	if math.Abs(below) < 1e-6 {
		return 0
	}
	return float64(n) * cos / below
}
