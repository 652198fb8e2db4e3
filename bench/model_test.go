package bench

// A whole model of 15 million parameters, random: prefill, generation and a training step.

import (
	"context"
	"fmt"
	"testing"

	"salsa/models"
	"salsa/nn"
	"salsa/optim"
	"salsa/tensor"
)

// smallLlama has the shape of the 15M TinyStories models: 6 layers, width 288, 32000 ids.
const smallLlama = `{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
  "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6,
  "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 48,
  "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "vocab_size": 32000, "tie_word_embeddings": true, "initializer_range": 0.02,
  "bos_token_id": 1, "eos_token_id": 2
}`

// wideLlama has the shape of a model of 58 million parameters, as one trains on a desk.
const wideLlama = `{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
  "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
  "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64,
  "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "vocab_size": 32000, "tie_word_embeddings": false, "initializer_range": 0.02,
  "bos_token_id": 1, "eos_token_id": 2
}`

func newModel(train bool) (models.Model, error) { return newModelOf(smallLlama, train) }

func newModelOf(config string, train bool) (models.Model, error) {
	c, err := models.ParseConfig("config.json", []byte(config))
	if err != nil {
		return nil, err
	}
	return models.New(c, 1, models.Options{DType: dtype, Device: device, Train: train})
}

// prompts are batch rows of n ids each.
func prompts(batch, n int) [][]int {
	rows := make([][]int, batch)
	for r := range rows {
		rows[r] = make([]int, n)
		for i := range rows[r] {
			rows[r][i] = 3 + (r*n+i)*7919%31000
		}
	}
	return rows
}

func BenchmarkPrefill(b *testing.B) {
	for _, s := range []struct{ batch, time int }{{1, 512}, {8, 128}} {
		b.Run(fmt.Sprintf("B%d-T%d", s.batch, s.time), func(b *testing.B) {
			run(b, func() error {
				m, err := newModel(false)
				if err != nil {
					return err
				}
				in := models.Collate(prompts(s.batch, s.time))
				in.IDs = in.IDs.OnDevice(device)
				err = inference(b, func() tensor.Tensor { return m.Hidden(in, nil) })
				tokens(b, float64(s.batch*s.time))
				return err
			})
		})
	}
}

// BenchmarkGenerate times 32 new tokens for each row, after a prompt of 8: almost all of it is decoding.
func BenchmarkGenerate(b *testing.B) {
	const fresh = 32
	for _, batch := range []int{1, 8} {
		b.Run(fmt.Sprintf("B%d", batch), func(b *testing.B) {
			run(b, func() error {
				m, err := newModel(false)
				if err != nil {
					return err
				}
				rows := prompts(batch, 8)
				opt := models.GenOptions{
					MaxNewTokens: fresh, IgnoreEOS: true, BatchSize: batch,
					Sampler: tensor.Sampler{Temperature: 1, TopP: 1},
				}
				b.ReportAllocs()
				for b.Loop() { // completions are Go slices: the device is done when they are there
					if _, err := models.Generate(context.Background(), m, rows, opt); err != nil {
						return err
					}
				}
				tokens(b, float64(batch*fresh))
				return nil
			})
		})
	}
}

// BenchmarkTrainStep is one step of fine-tuning: forward, log-probabilities of every next token, backward,
// clipping and AdamW.
func BenchmarkTrainStep(b *testing.B) {
	for _, s := range []struct {
		name, config string
		batch, time  int
	}{{"15M", smallLlama, 4, 128}, {"58M", wideLlama, 4, 256}} {
		b.Run(fmt.Sprintf("%s-B%d-T%d", s.name, s.batch, s.time), func(b *testing.B) {
			run(b, func() error { return trainSteps(b, s.config, s.batch, s.time) })
		})
	}
}

func trainSteps(b *testing.B, config string, batch, time int) error {
	m, err := newModelOf(config, true)
	if err != nil {
		return err
	}
	var params []nn.Param
	var weights []tensor.Tensor
	for p := range nn.Params(m) {
		params, weights = append(params, p), append(weights, *p.Tensor)
	}
	adam := optim.NewAdamW(params, optim.Hyper{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	defer adam.Close()
	in := models.Collate(prompts(batch, time))
	in.IDs = in.IDs.OnDevice(device)
	next := models.Collate(prompts(batch, time+1)).IDs.Narrow(1, 1, time).Reshape(-1).OnDevice(device)
	var stepErr error
	err = loop(b, func() tensor.Tensor {
		h := m.Hidden(in, nil).Reshape(batch*time, -1)
		scale := 1 / float64(batch*time)
		tensor.Backward(tensor.LinearLogProbLoss(h, m.HeadWeight(), next, 1, 0, func(_, _ int, s tensor.TargetScores) tensor.Tensor {
			return s.LogP.Sum().MulScalar(-scale)
		}))
		norm := tensor.GradNorm(weights)
		if err := adam.Step(1e-5, optim.ClipFactor(norm, 1)); err != nil {
			stepErr = err
		}
		tensor.ZeroGrads(weights)
		return weights[0]
	})
	tokens(b, float64(batch*time))
	if err != nil {
		return err
	}
	return stepErr
}
