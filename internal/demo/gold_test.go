package demo

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

func TestOptimumIsReachedForEveryPrompt(t *testing.T) {
	all := Combinations()
	require.Len(t, all, 10+45+120)
	for _, p := range all {
		best := Optimum(p)
		require.NotNil(t, best, p.Text())
		require.LessOrEqual(t, len(best), MaxIngredients)
		assert.Equal(t, p.Want(), best.Taste(), p.Text())
		assert.Equal(t, 1.0, GoldOf(p, best, 0), p.Text())
	}
}

func TestGold(t *testing.T) {
	// hot wants heat 5, acid 2, sweet 2, salt 1, herb 2, body 3, smoke 1: 16 units.
	for _, c := range []struct {
		completion string
		points     float64
	}{
		{"", 0},
		{" chili", 2},
		{" chili habanero", 5},
		{" habanero chili", 5},
		{" chili habanero pepper", 5 - 1.5},
		{" chili chili", 4 - 0.5},
		{" chili chili chili", 5 - 1.5 - 2*0.5},
		{" paprika", 1 - 1.5},
		{" tomato tofu", 0}, // two units of body, less one malformed word
		{" tomato:", -2},
		{" tomatolime", -2},
		{" honey honey honey", 2 - 7*1.5 - 2*0.5},
	} {
		got, err := Gold(" hot salsa:", c.completion)
		require.NoError(t, err)
		assert.InDelta(t, c.points/16, got, 1e-12, c.completion)
	}
	mild := Prompt{0}
	assert.Equal(t, 0, mild.Want()[Heat], "mild wants no heat, and never less than none")
}

func TestGoldIgnoresTheOrderOfAdjectives(t *testing.T) {
	for _, order := range orders(Prompt{0, 1, 4}) {
		assert.Equal(t, Prompt{0, 1, 4}.Want(), order.Want())
	}
}

func TestPromptsAndRecipesReadBack(t *testing.T) {
	for _, c := range Combinations() {
		for _, p := range orders(c) {
			for _, text := range []string{p.Text(), BOSToken + p.Text()} {
				got, err := ParsePrompt(text)
				require.NoError(t, err)
				require.Equal(t, p, got)
			}
		}
	}
	every := make(Recipe, NumIngredients)
	for i := range every {
		every[i] = i
	}
	got, malformed := ParseRecipe(every.Text())
	assert.Equal(t, every, got)
	assert.Zero(t, malformed)
}

func TestParsePromptRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                            "does not end in",
		" hot salsa":                  "does not end in",
		" salsa:":                     "wrong number",
		" hot sweet sour mild salsa:": "wrong number",
		" bland salsa:":               "unknown adjective \"bland\"",
		" hot hot salsa:":             "\"hot\" stands twice",
	} {
		_, err := ParsePrompt(text)
		require.ErrorContains(t, err, why)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

func TestEachTasteHasAPureUnit(t *testing.T) {
	for d, name := range DimNames {
		pure := slices.ContainsFunc(ingredients[:], func(w word) bool { return w.taste.Sum() == 1 && w.taste[d] == 1 })
		assert.True(t, pure, name)
	}
}

func TestJudge(t *testing.T) {
	hot := " hot salsa:" // 16 units
	s, err := Judge([]string{hot, hot}, []string{" habanero chili chili", " tomato tofu"})
	require.NoError(t, err)
	a, b := (5-3-0.5)/16.0, 0.0
	assert.InDelta(t, (a+b)/2, s.Gold, 1e-12)
	assert.InDelta(t, (a-b)/2, s.GoldError, 1e-12)
	assert.Equal(t, Summary{N: 2, Gold: s.Gold, GoldError: s.GoldError, Length: 2, Missing: 12.5, Excess: 1, Repeats: 0.5, Malformed: 0.5}, s)
	_, err = Judge(nil, nil)
	assert.ErrorContains(t, err, "at least one")
	_, err = Judge([]string{"x"}, []string{""})
	assert.ErrorContains(t, err, "does not end in")
}

func TestDescribe(t *testing.T) {
	text := Describe()
	assert.NotContains(t, text, "%!")
	assert.Contains(t, text, " hot sweet salsa:")
	assert.Contains(t, text, Optimum(Prompt{1, 2}).Text())
}
