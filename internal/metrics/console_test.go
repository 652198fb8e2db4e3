package metrics

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
)

func TestConsoleLinesStayAligned(t *testing.T) {
	var out strings.Builder
	c := NewConsole(&out, ConsoleOptions{Total: 1000})
	require.NoError(t, c.Log(1, map[string]float64{"loss": 2.5, "lr": 3e-6, "objective/kl": 12.345, "tokens_per_s": 9}))
	require.NoError(t, c.Log(200, map[string]float64{"loss": 0, "lr": 1e-5, "objective/kl": 0.01}))
	require.Equal(t, "step    1/1000  loss 2.5000    kl 12.3      lr 3.0e-06\n"+
		"step  200/1000  loss 0         kl 0.0100    lr 1.0e-05\n", out.String())
}

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{-6.9e-18: "0", 3.4e-7: "3.4e-07", 0.25: "0.2500", 14.84: "14.8", 2e5: "2.0e+05"} {
		require.Equal(t, want, short(v))
	}
	require.Equal(t, "0.0968 ms/step", pace(9.68e-5))
	require.Equal(t, "0.0342 s/step", pace(0.0342))
}

func TestConsolePrintsEveryNthFirstAndLast(t *testing.T) {
	var out strings.Builder
	c := NewConsole(&out, ConsoleOptions{Total: 25, Every: 10})
	for step := 1; step <= 25; step++ {
		require.NoError(t, c.Log(step, map[string]float64{"loss": 1}))
	}
	require.Equal(t, 4, strings.Count(out.String(), "\n"), out.String()) // 1, 10, 20, 25
}

func TestConsoleFitsTheTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var out strings.Builder
	c := NewConsole(&out, ConsoleOptions{Total: 9, Rich: true, Width: 60})
	row := map[string]float64{"loss": 1, "objective/kl": 2, "lr": 3, "grad_norm": 4, "margin": 5, "accuracy": 1}
	require.NoError(t, c.Log(1, row))
	row["loss"] = 2
	require.NoError(t, c.Log(2, row))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[1], "▁█")
	for _, line := range lines {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 60)
	}
}

func TestHintIsPrintedOnceBelowItsLine(t *testing.T) {
	var out strings.Builder
	c := NewConsole(&out, ConsoleOptions{Total: 1000, Every: 500})
	for step := 2; step <= 40; step++ {
		require.NoError(t, c.Log(step, map[string]float64{"policy/clipfrac_avg": 0.9}))
	}
	require.Equal(t, 1, strings.Count(out.String(), "hint: policy/clipfrac_avg = 0.9 at step 2"))
	require.Len(t, c.Hints(), 1)
}

func TestNoHintForAValueThatIsHealthyAgain(t *testing.T) {
	var w Watch
	for step := range 40 {
		w.Check(step, map[string]float64{"val/explained_var": min(-8+float64(step), 0.3)})
	}
	require.Empty(t, w.Hints(), "the moving average lags, the value is fine from step 9 on")
}

func TestHeldOutNumbersAreShown(t *testing.T) {
	var out strings.Builder
	c := NewConsole(&out, ConsoleOptions{Total: 9})
	require.NoError(t, c.Log(9, map[string]float64{"eval_loss": 2.5, "eval_perplexity": 12.18}))
	require.Equal(t, "step    9/9  held-out loss 2.5000    held-out perplexity 12.2\n", out.String())
}

func TestSparkline(t *testing.T) {
	require.Equal(t, "▁█ ▅", Sparkline([]float64{0, 1, math.NaN(), 0.5}))
	require.Equal(t, "▁▁", Sparkline([]float64{3, 3}))
	require.Empty(t, Sparkline(nil))
}

// TestWatch feeds every rule a series that must trip it and a healthy one that must not.
func TestWatch(t *testing.T) {
	ramp := func(from, to float64) func(int) float64 {
		return func(i int) float64 { return from + (to-from)*float64(i)/99 }
	}
	flat := func(v float64) func(int) float64 { return func(int) float64 { return v } }
	cases := []struct {
		key          string
		bad, healthy func(int) float64
	}{
		{"loss", func(i int) float64 { return []float64{1, math.NaN()}[min(i, 1)] }, ramp(3, 1)},
		{"objective/kl", ramp(1, 60), ramp(0, 9)},
		{"objective/kl", flat(-4), flat(-0.2)},
		{"policy/approxkl_avg", flat(0.5), flat(0.01)},
		{"policy/clipfrac_avg", flat(0.7), flat(0.2)},
		{"policy/entropy_avg", ramp(2, 0.01), ramp(2, 1)},
		{"val/ratio", flat(1.6), flat(1.01)},
		{"val/explained_var", flat(-2), ramp(0, 0.6)},
		{"completions/clipped_ratio", flat(1), flat(0.1)},
		{"frac_reward_zero_std", flat(0.95), flat(0.3)},
		{"reward_length_corr", flat(0.95), flat(0.2)},
		{"rollout/logp_diff_max", flat(1), flat(1e-5)},
		{"rewards/accuracies", flat(0.3), flat(0.7)},
		{"accuracy", flat(0.3), flat(0.7)},
		{"grad_norm", ramp(1, 900), flat(1)},
	}
	require.Len(t, cases, len(rules), "one case per rule")
	for _, c := range cases {
		var bad, healthy Watch
		for i := range 100 {
			bad.Check(i, map[string]float64{c.key: c.bad(i)})
			healthy.Check(i, map[string]float64{c.key: c.healthy(i)})
		}
		require.Len(t, bad.Hints(), 1, c.key)
		require.Equal(t, c.key, bad.Hints()[0].Key)
		require.Empty(t, healthy.Hints(), c.key)
	}
}

func TestPlainProgressIsRareAndTellsSpeedAndETA(t *testing.T) {
	var out strings.Builder
	clock := time.Unix(0, 0)
	p := newProgress(&out, "ppo", 10, 110, func() time.Time { return clock })
	for step := 11; step <= 30; step++ {
		clock = clock.Add(time.Second)
		p.Tokens(500)
		p.Step(step)
		require.True(t, p.lines.flush(patience))
	}
	clock = clock.Add(5 * time.Second)
	p.Phase("rollout 24/64")
	require.True(t, p.lines.flush(patience))
	p.Done()
	p.Done()
	require.Equal(t, `ppo 14/110  1 s/step  500 tok/s  ETA 1m35s
ppo 19/110  1 s/step  500 tok/s  ETA 1m30s
ppo 24/110  1 s/step  500 tok/s  ETA 1m25s
ppo 29/110  1 s/step  500 tok/s  ETA 1m20s
ppo 30/110  1 s/step  400 tok/s  ETA 1m19s  rollout 24/64
ppo 30/110  1 s/step  400 tok/s  ETA 1m19s  rollout 24/64
`, out.String())
	perStep, perSecond := p.Rates()
	require.Equal(t, 1.0, perStep)
	require.Equal(t, 400.0, perSecond)
}

func TestProgressOnAFileWritesNoControlSequences(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "stderr")
	require.NoError(t, err)
	p := NewProgress(f, "sft", 0, 2)
	p.Step(2)
	_, err = p.Write([]byte("saved\n"))
	require.NoError(t, err)
	p.Done()
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.NotContains(t, string(got), "\x1b")
	require.Regexp(t, `^saved\nsft 2/2  .* in 0s\n$`, string(got))
}

// stopped is a stream that takes nothing until it is opened.
type stopped struct {
	open  chan struct{}
	taken strings.Builder
}

func (s *stopped) Write(text []byte) (int, error) {
	<-s.open
	return s.taken.Write(text)
}

func TestAStreamThatStandsStillHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stopped{open: make(chan struct{})}
		p := newProgress(out, "ppo", 0, 100, time.Now)
		for step := 1; step <= 50; step++ {
			time.Sleep(plainEvery)
			p.Step(step) // none of these waits: the test's clock stands still while anything does
			fmt.Fprintf(p, "step %d\n", step)
		}
		p.Done() // waits for its patience and gives up
		close(out.open)
		require.True(t, p.lines.flush(patience))
		got := strings.Split(strings.TrimSpace(out.taken.String()), "\n")
		require.Equal(t, "ppo 1/100  5 s/step  ETA 8m15s", got[0], "taken before the stream was known to stand still")
		for step := 1; step <= 50; step++ {
			require.Equal(t, fmt.Sprintf("step %d", step), got[step])
		}
		require.Equal(t, []string{"ppo 50/100  5 s/step  ETA 4m10s"}, got[51:], "of the progress, only the newest")
	})
}

// refusing is a terminal that fails, as a non-blocking one does while it is full.
type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, syscall.EAGAIN }

func TestLinesGoOnWithoutTheirBar(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, "ppo", 0, 100, time.Now)
	p.box = mpb.New(mpb.WithOutput(refusing{}), mpb.WithAutoRefresh(), mpb.WithRefreshRate(time.Millisecond))
	p.bar = p.box.AddBar(0)
	p.box.Wait() // the first frame is the last one
	fmt.Fprintln(p, "step 1")
	p.Done()
	require.Equal(t, "step 1\n", out.String())
}

func TestAStreamThatStandsStillCostsBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stopped{open: make(chan struct{})}
		p := newProgress(out, "ppo", 0, 100, time.Now)
		line := strings.Repeat("x", 1023) + "\n"
		for range 1500 {
			_, err := p.Write([]byte(line))
			require.NoError(t, err)
		}
		close(out.open)
		require.True(t, p.lines.flush(patience))
		got := out.taken.String()
		require.Less(t, len(got), maxHeld+2*1024+100)
		shown := strings.Count(got, line)
		lost := 0
		for _, note := range regexp.MustCompile(`\((\d+) lines are not shown`).FindAllStringSubmatch(got, -1) {
			n, err := strconv.Atoi(note[1])
			require.NoError(t, err)
			lost += n
		}
		require.Positive(t, lost)
		require.Equal(t, 1500, lost+shown)
	})
}
