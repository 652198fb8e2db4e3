package profile

// What a recorder counts, and that it costs nothing where there is none. Seconds are compared with one another alone.

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// record takes a profile of what do does and returns its report and folder.
func record(t *testing.T, do func()) (Report, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run", "profile") // neither exists
	r, err := Start(dir)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Dir(dir), "a run folder must be empty when the run begins")
	do()
	require.NoError(t, r.Stop())
	var report Report
	raw, err := os.ReadFile(filepath.Join(dir, ReportFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &report))
	return report, dir
}

func TestReport(t *testing.T) {
	report, dir := record(t, func() {
		update := Begin(Update)
		data := Begin(Data)
		data.End()
		Tokens(7)
		Begin(Optimizer) // left without an End, as by a panic that somebody catches
		update.End()
		Trained(100)
		done := make(chan bool)
		go func() {
			defer close(done)
			a := Behind(Checkpoint)
			b := Behind(Metrics)
			b.End()
			a.End()
			Behind(Metrics).End()
		}()
		<-done
	})
	for _, name := range []string{"cpu.pprof", "heap.pprof", "trace.out", TableFile, timelineFile} {
		stat, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Positive(t, stat.Size(), name)
	}
	share, seconds := 0.0, 0.0
	for _, p := range report.Phases {
		share, seconds = share+p.Share, seconds+p.Seconds
		assert.Positive(t, p.PeakMB, p.Name)
	}
	assert.InDelta(t, 1, share, 1e-6, "a phase inside another takes its time out of it")
	assert.InDelta(t, report.WallSeconds, seconds, 1e-6)
	for name, count := range map[string]int{Update: 1, Data: 1, Optimizer: 1, Generate: 0} {
		assert.Equal(t, count, report.Of(name).Count, name)
	}
	assert.Equal(t, 7, report.Of(Update).Tokens)
	assert.Equal(t, 100, report.Tokens)
	behind := map[string]int{}
	for _, p := range report.Behind {
		behind[p.Name] = p.Count
	}
	assert.Equal(t, map[string]int{Checkpoint: 1, Metrics: 2}, behind)
	assert.Zero(t, report.WaitDiskSeconds)
	assert.True(t, report.WholeTrace && report.WholeTimeline)
}

// The timeline is what Perfetto reads; spans of one lane never overlap.
func TestTimeline(t *testing.T) {
	_, dir := record(t, func() {
		defer Begin(Update).End()
		Begin(Data).End()
		a, b := Behind(Checkpoint), Behind(Metrics)
		a.End()
		b.End()
		Behind(Metrics).End()
	})
	raw, err := os.ReadFile(filepath.Join(dir, timelineFile))
	require.NoError(t, err)
	var events []struct {
		Name, Ph string
		Tid      int
		Ts, Dur  float64
	}
	require.NoError(t, json.Unmarshal(raw, &events), string(raw))
	lanes := map[string][]int{}
	for _, e := range events[1:] {
		assert.Equal(t, "X", e.Ph)
		assert.False(t, math.Signbit(e.Ts) || math.Signbit(e.Dur))
		lanes[e.Name] = append(lanes[e.Name], e.Tid)
	}
	assert.Equal(t, map[string][]int{Data: {0}, Update: {0}, Checkpoint: {1}, Metrics: {2, 1}}, lanes)
}

func TestOffCostsNothing(t *testing.T) {
	allocs := testing.AllocsPerRun(100, func() {
		s := Begin(Update)
		Behind(Metrics).End()
		Tokens(1)
		Trained(1)
		s.End()
	})
	assert.Zero(t, allocs)
	var none *Recorder
	require.NoError(t, none.Stop())
}

func TestDiscard(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "profile")
	r, err := Start(dir)
	require.NoError(t, err)
	require.NoError(t, r.Discard())
	require.NoDirExists(t, filepath.Dir(dir))
	r, err = Start(dir)
	require.NoError(t, err, "the first has ended")
	require.NoError(t, r.Stop())
}

// A second profile replaces the files of the first and leaves the others.
func TestReplaces(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644))
	for range 2 {
		r, err := Start(dir)
		require.NoError(t, err)
		_, err = Start(dir)
		require.Equal(t, fault.ExitInput, fault.ExitCode(err))
		require.ErrorContains(t, err, "one stage at a time")
		require.NoError(t, r.Stop())
	}
	assert.FileExists(t, filepath.Join(dir, "mine"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 7)
}

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/salsa-profile"} { // the last even for root
		r, err := Start(dir)
		require.Error(t, err, dir)
		require.Nil(t, r)
		require.Equal(t, fault.ExitInput, fault.ExitCode(err), err.Error())
		require.ErrorContains(t, err, "choose another folder")
	}
}
