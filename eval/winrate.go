// Win rates: from scores, from a judge's games in both orders, and Arena-Hard's weighted form with Elo.
// Every one counts a tie as half a win for each side.

package eval

import (
	"fmt"
	"math"
)

// WinRate is how often a model beats a baseline.
type WinRate struct {
	Rate               Interval // (wins + ties/2) / all
	Wins, Ties, Losses int
}

// String returns "62.5% [53.1, 71.0] (W 40 · T 15 · L 25)".
func (w WinRate) String() string {
	return fmt.Sprintf("%.1f%% [%.1f, %.1f] (W %d · T %d · L %d)", 100*w.Rate.Mean, 100*w.Rate.Low, 100*w.Rate.High, w.Wins, w.Ties, w.Losses)
}

// FromScores compares two models' scores prompt by prompt: a difference of at most tie is a tie, which
// MT-Bench sets to 0.1 on its ten-point scale and a reward model to 0. clusters as in Bootstrap.Mean.
func (b Bootstrap) FromScores(model, baseline []float64, tie float64, clusters []string) (WinRate, error) {
	if len(model) != len(baseline) {
		return WinRate{}, fmt.Errorf("eval: win rate of %d against %d scores; score the same prompts in the same order", len(model), len(baseline))
	}
	outcomes := make([]float64, len(model))
	for i := range outcomes {
		switch diff := model[i] - baseline[i]; {
		case math.IsNaN(diff):
			outcomes[i] = diff // refused by Mean with the row's number
		case math.Abs(diff) <= tie:
			outcomes[i] = 0.5
		case diff > 0:
			outcomes[i] = 1
		}
	}
	return b.FromOutcomes(outcomes, clusters)
}

// FromOutcomes summarises outcomes: 1 won, 0.5 tied, 0 lost. When all agree the interval is Wilson's.
func (b Bootstrap) FromOutcomes(outcomes []float64, clusters []string) (WinRate, error) {
	rate, err := b.Mean(outcomes, clusters)
	if err != nil {
		return WinRate{}, err
	}
	out := WinRate{Rate: rate}
	for i, v := range outcomes {
		switch v {
		case 1:
			out.Wins++
		case 0.5:
			out.Ties++
		case 0:
			out.Losses++
		default:
			return WinRate{}, fmt.Errorf("eval: outcome %d is %g; outcomes are 1, 0.5 or 0", i, v)
		}
	}
	if rate.Low == rate.High {
		n := len(outcomes)
		out.Rate, err = Wilson(rate.Mean, rate.Clusters, rate.Level)
		out.Rate.N = n
	}
	return out, err
}

// AdjustedWinRate is (wins + ties/2) / all, MT-Bench's figure for pairwise games; NaN without games.
func AdjustedWinRate(wins, losses, ties int) float64 {
	return (float64(wins) + float64(ties)/2) / float64(wins+losses+ties)
}

// Verdict is a judge's choice between answers A and B as they were shown.
type Verdict int

// The verdicts of Arena-Hard, from A much better to B much better.
const (
	AMuchBetter Verdict = iota - 2 // A>>B
	ABetter                        // A>B
	Tie                            // A=B
	BBetter                        // B>A
	BMuchBetter                    // B>>A
)

var verdictNames = map[string]Verdict{"A>>B": AMuchBetter, "A>B": ABetter, "A=B": Tie, "B=A": Tie, "B>A": BBetter, "B>>A": BMuchBetter,
	"B<<A": AMuchBetter, "B<A": ABetter, "A<B": BBetter, "A<<B": BMuchBetter}

// ParseVerdict reads "A>>B", "A>B", "A=B", "B>A", "B>>A" and their mirrored spellings; ok is false for
// anything else: a judge's answer without a verdict is counted apart, never taken for a tie.
func ParseVerdict(s string) (v Verdict, ok bool) {
	v, ok = verdictNames[s]
	return v, ok
}

// Swapped returns the verdict with the two answers in the other order.
func (v Verdict) Swapped() Verdict { return -v }

// Games are the two verdicts on one question: First with the baseline as A and the model as B, Second
// with the model as A and the baseline as B.
type Games struct {
	Question      string
	First, Second Verdict
}

// Outcome is the position-proof result for the model (MT-Bench): 1 or 0 when both orders agree on the
// winner, else 0.5. A judge that always picks the first answer gets ties only.
func (g Games) Outcome() float64 {
	first, second := sign(g.First), sign(g.Second.Swapped())
	switch {
	case first == 1 && second == 1:
		return 1
	case first == -1 && second == -1:
		return 0
	}
	return 0.5
}

// Consistent reports whether both orders name the same winner, or both a tie.
func (g Games) Consistent() bool { return sign(g.First) == sign(g.Second.Swapped()) }

// TwoOrder is the outcome of a judge's games played in both orders.
type TwoOrder struct {
	WinRate             // disagreement between the orders is a tie
	Consistency float64 // share of questions whose two orders agree
	FirstShare  float64 // share of decided games won by the answer shown first; 0.5 is unbiased, NaN without any
	Unparsed    int     // questions left out because a game had no verdict, as the caller counted
	Questions   int     // questions judged
}

// FromGames summarises two-order games, one pair per question or more; unparsed is reported along.
func (b Bootstrap) FromGames(games []Games, unparsed int) (TwoOrder, error) {
	outcomes, questions := make([]float64, len(games)), make([]string, len(games))
	agree, firstWins, decided := 0, 0, 0
	for i, g := range games {
		outcomes[i], questions[i] = g.Outcome(), g.Question
		if g.Consistent() {
			agree++
		}
		for _, v := range []Verdict{g.First, g.Second} {
			if v != Tie {
				decided++
			}
			if v < Tie {
				firstWins++
			}
		}
	}
	rate, err := b.FromOutcomes(outcomes, questions)
	return TwoOrder{WinRate: rate, Consistency: float64(agree) / float64(len(games)),
		FirstShare: float64(firstWins) / float64(decided), Unparsed: unparsed, Questions: rate.Rate.Clusters}, err
}

// ArenaHard is Arena-Hard v0.1's win rate of the model against the baseline: each game is an outcome, one
// with a strong verdict (>>) counts as strong outcomes (3 in the paper), and the mean is the maximum-likelihood
// Bradley-Terry probability, since there is but one baseline. The interval resamples questions.
func (b Bootstrap) ArenaHard(games []Games, strong float64) (Interval, error) {
	var outcomes, weights []float64
	var questions []string
	for _, g := range games {
		for _, v := range []Verdict{g.First, g.Second.Swapped()} {
			weight := 1.0
			if v == AMuchBetter || v == BMuchBetter {
				weight = strong
			}
			outcomes = append(outcomes, float64(sign(v)+1)/2)
			weights = append(weights, weight)
			questions = append(questions, g.Question)
		}
	}
	return b.WeightedMean(outcomes, weights, questions)
}

// Elo converts a win probability against a baseline rated base to a rating with scale 400 and base 10.
func Elo(winRate, base float64) float64 { return base + 400*math.Log10(winRate/(1-winRate)) }

// WeightedMean is Σwv/Σw: RewardBench's section score with subset sizes as weights, and its overall
// score with weight 0.5 for the prior sets.
func WeightedMean(values, weights []float64) float64 {
	num, den := 0.0, 0.0
	for i, v := range values {
		num += weights[i] * v
		den += weights[i]
	}
	return num / den
}

func sign(v Verdict) int {
	switch {
	case v > Tie:
		return 1
	case v < Tie:
		return -1
	}
	return 0
}
