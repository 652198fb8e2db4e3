package trainers

// The losses, each a pure function of tensors with its equation. None touches a model.

import "salsa/tensor"

// maxLogRatio bounds a log-ratio before it is exponentiated: e^20 is far beyond any clip range, and e^89
// overflows fp32.
const maxLogRatio = 20

// ClippedPolicy is PPO's surrogate per token, max(-Âρ, -Â·clip(ρ, 1-ε, 1+ε)) with ρ = exp(now - old)
// (Schulman et al., arXiv 1707.06347, eq. 7). All arguments and results are [N] fp32; old and adv are
// constants. clipped is 1 where the clipped branch is the larger.
func ClippedPolicy(now, old, adv tensor.Tensor, clipRange float64) (loss, ratio, clipped tensor.Tensor) {
	ratio = now.Sub(old).Clamp(-maxLogRatio, maxLogRatio).Exp()
	plain := adv.Neg().Mul(ratio)
	limited := adv.Neg().Mul(ratio.Clamp(1-clipRange, 1+clipRange))
	return plain.Maximum(limited), ratio, limited.GtTensor(plain).To(tensor.Float32)
}

// ClippedValue is half the larger squared error of the value and of the value clipped to within ε of the
// rollout's: ½·max((V-R)², (clip(V, V_old±ε)-R)²) (Ziegler et al., lm-human-preferences). All [N] fp32.
func ClippedValue(now, old, ret tensor.Tensor, clipRange float64) (loss, clipped tensor.Tensor) {
	plain := now.Sub(ret).Square()
	// Not old + clip(now-old): its rounding would count values inside the range as clipped.
	near := now.Maximum(old.AddScalar(-clipRange)).Minimum(old.AddScalar(clipRange))
	limited := near.Sub(ret).Square()
	return plain.Maximum(limited).MulScalar(0.5), limited.GtTensor(plain).To(tensor.Float32)
}

// BradleyTerry is -log σ(r_w - r_l - m) + c·(r_w + r_l)² per pair: the reward loss of Ouyang et al., arXiv
// 2203.02155, eq. 1, with the margin of Llama 2 (arXiv 2307.09288, eq. 2) and the centring term of
// Eisenstein et al. (arXiv 2312.09244). All [B] fp32.
func BradleyTerry(chosen, rejected, margin tensor.Tensor, centre float64) tensor.Tensor {
	loss := chosen.Sub(rejected).Sub(margin).LogSigmoid().Neg()
	if centre == 0 {
		return loss
	}
	return loss.Add(chosen.Add(rejected).Square().MulScalar(centre))
}
