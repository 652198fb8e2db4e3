package main

// The curves: what grows, from where to where, and what one point does.

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/demo"
	"salsa/models"
	"salsa/nn"
	"salsa/optim"
	"salsa/tensor"
)

// curve is one dimension of growth.
type curve struct {
	name, axis, what string
	xs               []float64
	cost             func(x, threads int) (seconds float64, err error)
}

var curves = []curve{
	{"length", "tokens in a sequence", "a training step on one sequence", doubling(128, 8192), func(x, threads int) (float64, error) {
		return trainStep(shape{batch: 1, time: x, vocab: 4096, layers: 4}, threads)
	}},
	{"batch", "sequences in a batch", "a training step on sequences of 128 tokens", doubling(1, 64), func(x, threads int) (float64, error) {
		return trainStep(shape{batch: x, time: 128, vocab: 4096, layers: 4}, threads)
	}},
	{"vocabulary", "tokens in the vocabulary", "a training step on 4 sequences of 128 tokens", doubling(1024, 131072), func(x, threads int) (float64, error) {
		return trainStep(shape{batch: 4, time: 128, vocab: x, layers: 4}, threads)
	}},
	{"depth", "layers", "a training step on 4 sequences of 128 tokens", doubling(1, 32), func(x, threads int) (float64, error) {
		return trainStep(shape{batch: 4, time: 128, vocab: 4096, layers: x}, threads)
	}},
	{"rows", "rows in the file", "reading and encoding prompts one at a time", []float64{10, 100, 1000, 10_000, 100_000, 1_000_000}, streamRows},
	{"kept-rows", "rows in the file, all kept", "reading and encoding prompts as training does", []float64{10, 100, 1000, 10_000, 100_000, 1_000_000}, keepRows},
}

func curveNames() []string {
	var names []string
	for _, c := range curves {
		names = append(names, c.name)
	}
	return names
}

func doubling(from, to float64) []float64 {
	var xs []float64
	for x := from; x <= to; x *= 2 {
		xs = append(xs, x)
	}
	return xs
}

// shape is a Llama of width 256 and a batch for it.
type shape struct{ batch, time, vocab, layers int }

func (s shape) config() string {
	return fmt.Sprintf(`{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
		"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": %d, "num_attention_heads": 4, "num_key_value_heads": 4,
		"head_dim": 64, "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": %d,
		"tie_word_embeddings": false, "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2}`, s.layers, s.vocab)
}

// trainStep is the median time of three steps of fine-tuning after one of warm-up: forward, log-probabilities of every
// next token, backward, clipping and AdamW.
func trainStep(s shape, threads int) (seconds float64, err error) {
	err = tensor.Run(func() error {
		tensor.SetThreads(threads)
		c, err := models.ParseConfig("config.json", []byte(s.config()))
		if err != nil {
			return err
		}
		m, err := models.New(c, 1, models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true})
		if err != nil {
			return err
		}
		step, done := stepper(m, s)
		defer done()
		var took []float64
		for range 4 {
			began := time.Now()
			if err := tensor.Scope(step); err != nil {
				return err
			}
			took = append(took, time.Since(began).Seconds())
		}
		seconds = slices.Sorted(slices.Values(took[1:]))[1]
		return nil
	})
	return seconds, err
}

func stepper(m models.Model, s shape) (step func() error, done func()) {
	var params []nn.Param
	var weights []tensor.Tensor
	for p := range nn.Params(m) {
		params, weights = append(params, p), append(weights, *p.Tensor)
	}
	adam := optim.NewAdamW(params, optim.Hyper{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	rows := make([][]int, s.batch)
	for r := range rows {
		for i := range s.time + 1 {
			rows[r] = append(rows[r], 3+(r*s.time+i)*7919%(s.vocab-3))
		}
	}
	all := models.Collate(rows)
	in := models.Input{IDs: all.IDs.Narrow(1, 0, s.time)}
	next := all.IDs.Narrow(1, 1, s.time).Reshape(-1)
	scale := 1 / float64(s.batch*s.time)
	return func() error {
		h := m.Hidden(in, nil).Reshape(s.batch*s.time, -1)
		tensor.Backward(tensor.LinearLogProbLoss(h, m.HeadWeight(), next, 1, 0, func(_, _ int, s tensor.TargetScores) tensor.Tensor {
			return s.LogP.Sum().MulScalar(-scale)
		}))
		norm := tensor.GradNorm(weights)
		err := adam.Step(1e-5, optim.ClipFactor(norm, 1))
		tensor.ZeroGrads(weights)
		return err
	}, adam.Close
}

// rowsFile writes n prompts of the demo task and loads its tokenizer.
func rowsFile(dir string, n int) (path string, enc *data.Encoder, err error) {
	if err := demo.WriteBaseConfig(dir); err != nil {
		return "", nil, err
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "prompts.jsonl")
	file, err := os.Create(path)
	if err != nil {
		return "", nil, err
	}
	out := bufio.NewWriter(file)
	prompts := demo.TrainPrompts(1)
	for i := range n {
		fmt.Fprintf(out, "{\"prompt\":%q}\n", strings.TrimSpace(prompts[i%len(prompts)]))
	}
	if err := out.Flush(); err != nil {
		return "", nil, err
	}
	return path, data.NewEncoder(tok, demo.BOS, demo.EOS), file.Close()
}

// withRows times fn on a file of n rows, apart from writing the file.
func withRows(n int, fn func(path string, enc *data.Encoder) error) (float64, error) {
	dir, err := os.MkdirTemp("", "salsa-growth")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	path, enc, err := rowsFile(dir, n)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = fn(path, enc)
	return time.Since(began).Seconds(), err
}

func streamRows(n, _ int) (float64, error) {
	return withRows(n, func(path string, enc *data.Encoder) error {
		for row, err := range data.Open(path, data.ReadOptions{})() {
			if err != nil {
				return err
			}
			if _, err := enc.Prompt(&row); err != nil {
				return err
			}
		}
		return nil
	})
}

func keepRows(n, _ int) (float64, error) {
	return withRows(n, func(path string, enc *data.Encoder) error {
		rows, err := data.ReadAll(path, data.ReadOptions{})
		if err != nil {
			return err
		}
		_, _, err = data.EncodeAll(rows, enc.Prompt)
		return err
	})
}
