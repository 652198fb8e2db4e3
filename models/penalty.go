package models

// The repetition penalty of generation.

import "salsa/tensor"

// seenIDs returns the ids of a row's prompt and completion, padded to width by the last of them: an id that comes
// twice is penalised once.
func seenIDs(prompt, written []int, width int) []int {
	ids := make([]int, 0, width)
	ids = append(append(ids, prompt...), written...)
	for len(ids) < width {
		ids = append(ids, ids[len(ids)-1])
	}
	return ids
}

// penalise makes the ids of a row's prompt and completion less likely, logits [B, V] in float32 of row i given
// prompts[i] and written[i]: a positive logit is divided by penalty, a negative one multiplied (Keskar et al.,
// arXiv 1909.05858, section 4.1, with the sign that transformers' RepetitionPenaltyLogitsProcessor minds). A
// penalty below 1 makes them more likely.
func penalise(logits tensor.Tensor, prompts, written [][]int, penalty float64) tensor.Tensor {
	width := 0
	for i := range prompts {
		width = max(width, len(prompts[i])+len(written[i]))
	}
	seen := make([]int, 0, width*len(prompts))
	for i := range prompts {
		seen = append(seen, seenIDs(prompts[i], written[i], width)...)
	}
	at := tensor.Ints(seen, len(prompts), width).OnDevice(logits.Device())
	out := logits.To(tensor.Float32).MulScalar(1) // a copy: Scatter writes in place
	score := out.Gather(1, at)                    // [B, width]
	out.Scatter(1, at, tensor.Where(score.Lt(0), score.MulScalar(penalty), score.DivScalar(penalty)))
	return out
}
