package eval

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// worked holds the worked example of METHODS.md, section 16.
var worked = []Games{
	{"q1", BBetter, ABetter},
	{"q2", AMuchBetter, BBetter},
	{"q3", Tie, AMuchBetter},
	{"q4", BMuchBetter, BBetter},
}

func TestArenaHardWorkedNumbers(t *testing.T) {
	got, err := Bootstrap{}.ArenaHard(worked, 3)
	require.NoError(t, err)
	require.InDelta(t, 0.607143, got.Mean, 1e-6)
	require.Equal(t, 8, got.N)
	require.Equal(t, 4, got.Clusters)
	require.InDelta(t, 0.435318, math.Log(got.Mean/(1-got.Mean)), 1e-6)
	require.InDelta(t, 1075.622494, Elo(got.Mean, 1000), 1e-6)

	plain, err := Bootstrap{}.ArenaHard(worked, 1)
	require.NoError(t, err)
	require.InDelta(t, 0.5625, plain.Mean, 1e-12)
}

func TestAdjustedWinRateAndRewardBench(t *testing.T) {
	require.InDelta(t, 0.593750, AdjustedWinRate(40, 25, 15), 1e-12)
	chat := WeightedMean([]float64{0.95, 0.90, 0.97, 1, 0.85}, []float64{100, 95, 95, 28, 40})
	require.InDelta(t, 0.934777, chat, 1e-6)
	overall := WeightedMean([]float64{0.94, 0.6, 0.85, 0.8, 0.7}, []float64{1, 1, 1, 1, 0.5})
	require.InDelta(t, 0.786667, overall, 1e-6)
}

func TestTwoOrderGames(t *testing.T) {
	got, err := Bootstrap{}.FromGames(worked, 2)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 1}, []int{got.Wins, got.Ties, got.Losses}) // q2: the baseline wins both orders
	require.Equal(t, 0.5, got.Rate.Mean)
	require.Equal(t, 0.5, got.Consistency) // q1, q2
	require.InDelta(t, 3.0/7, got.FirstShare, 1e-12)
	require.Equal(t, 2, got.Unparsed)
	require.Equal(t, 4, got.Questions)
}

func TestIdenticalAnswersGiveHalf(t *testing.T) {
	scores := gaussian(30, 0, 1, 7)
	got, err := Bootstrap{}.FromScores(scores, scores, 0, nil)
	require.NoError(t, err)
	require.Equal(t, 0.5, got.Rate.Mean)
	require.Equal(t, 30, got.Ties)
	require.Equal(t, "wilson", got.Rate.Method, "a bootstrap of equal outcomes has no width")
}

func TestPositionOnlyJudgeYieldsTies(t *testing.T) {
	var games []Games
	for i := range 20 {
		games = append(games, Games{fmt.Sprint(i), ABetter, ABetter}) // always the answer shown first
	}
	got, err := Bootstrap{}.FromGames(games, 0)
	require.NoError(t, err)
	require.Equal(t, 20, got.Ties)
	require.Equal(t, 0.5, got.Rate.Mean)
	require.Equal(t, 0.0, got.Consistency)
	require.Equal(t, 1.0, got.FirstShare)
}

func TestFromScoresCountsTiesWithinTheMargin(t *testing.T) {
	got, err := Bootstrap{Seed: 1}.FromScores([]float64{7, 8, 5, 6.1}, []float64{7.1, 6, 9, 6}, 0.1+1e-9, nil)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 1}, []int{got.Wins, got.Ties, got.Losses})
	require.Equal(t, 0.5, got.Rate.Mean)
	require.Regexp(t, `^50\.0% \[[\d.]+, [\d.]+\] \(W 1 · T 2 · L 1\)$`, got.String())
	_, err = Bootstrap{}.FromScores([]float64{1, math.NaN()}, []float64{0, 0}, 0, nil)
	require.ErrorContains(t, err, "score 1 is NaN")
}

func TestParseVerdict(t *testing.T) {
	for text, want := range map[string]Verdict{"A>>B": AMuchBetter, "A>B": ABetter, "A=B": Tie, "B>A": BBetter, "B>>A": BMuchBetter} {
		got, ok := ParseVerdict(text)
		require.True(t, ok, text)
		require.Equal(t, want, got)
		require.Equal(t, -want, got.Swapped())
	}
	_, ok := ParseVerdict("A")
	require.False(t, ok)
}
