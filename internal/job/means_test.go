package job

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEvaluationAsText(t *testing.T) {
	e := Evaluation{Models: []EvaluatedModel{
		{Name: "sft1", judged: judged{Reward: []float64{-1, 0}, Length: []int{6, 7}, KL: map[string][]float64{"sft1": {0, 0}}}},
		{Name: "salsa", judged: judged{Reward: []float64{1, 2}, Length: []int{11, 12}, KL: map[string][]float64{"sft1": {2, 4}}}},
	}}
	var out strings.Builder
	require.NoError(t, e.writeText(&out, "runs/eval/eval.json"))
	require.Equal(t, ""+
		"model   reward   KL to sft1   tokens\n"+
		"sft1   -0.500    0.000        6.500\n"+
		"salsa   1.500    3.000        11.500\n"+
		"salsa: every sample and its numbers: runs/eval/eval.json\n", out.String())
}

func TestSweepAsText(t *testing.T) {
	loss, gold := 2.5, 0.4
	s := Sweep{Points: []SweepPoint{
		{0, Measures{Loss: &loss, Gold: &gold, KL: map[string]float64{"b": 0, "a": 0.5}}},
		{0.5, Measures{Loss: &loss, KL: map[string]float64{"b": 0.2, "a": 0.1}}},
	}}
	var out strings.Builder
	require.NoError(t, s.writeText(&out))
	require.Equal(t, ""+
		"α     loss    gold    KL to a   KL to b\n"+
		"0     2.500   0.400   0.500     0.000\n"+
		"0.5   2.500           0.100     0.200\n", out.String())
}
