package profile

// What a profile says: the table of phases, for people and for programs, and the timeline of spans.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names of the files whose content is not Go's.
const (
	ReportFile   = "phases.json"
	TableFile    = "phases.md"
	timelineFile = "timeline.json"
	cpuFile      = "cpu.pprof"
	heapFile     = "heap.pprof"
	traceFile    = "trace.out"
)

// Is tells whether dir is a folder that Stop wrote, and holds nothing else.
func Is(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	found := false
	for _, e := range entries {
		if !slices.Contains([]string{ReportFile, TableFile, timelineFile, cpuFile, heapFile, traceFile}, e.Name()) {
			return false
		}
		found = found || e.Name() == ReportFile
	}
	return found
}

// Report is phases.json. Sizes are in MB of 2^20 bytes.
type Report struct {
	WallSeconds     float64 `json:"wall_s"`
	Tokens          int     `json:"tokens"` // that the steps computed on
	TokensPerSecond float64 `json:"tokens_per_s"`
	PeakMB          float64 `json:"peak_rss_mb"`
	WaitDataSeconds float64 `json:"waited_for_data_s"`
	WaitDiskSeconds float64 `json:"waited_for_disk_s"`
	Phases          []Phase `json:"phases"` // of the compute goroutine, the longest first; their shares add up to 1
	Behind          []Phase `json:"behind"` // what other goroutines did meanwhile; they may overlap
	WholeTrace      bool    `json:"whole_trace"`
	WholeTimeline   bool    `json:"whole_timeline"`
}

// Phase is a row of the table.
type Phase struct {
	Name            string  `json:"phase"`
	Seconds         float64 `json:"seconds"`
	Share           float64 `json:"share"` // of the wall time
	Count           int     `json:"count"`
	Tokens          int     `json:"tokens,omitempty"`
	TokensPerSecond float64 `json:"tokens_per_s,omitempty"`
	PeakMB          float64 `json:"peak_rss_mb,omitempty"` // largest size seen in it, looked at every 10 ms and at its ends
}

// Of returns the row of a phase of the compute goroutine; of one that never came, zeros under its name.
func (r *Report) Of(name string) Phase {
	if i := slices.IndexFunc(r.Phases, func(p Phase) bool { return p.Name == name }); i >= 0 {
		return r.Phases[i]
	}
	return Phase{Name: name}
}

// report sums up what was recorded. The caller holds the lock.
func (r *Recorder) report() Report {
	wall := r.mark.Sub(r.began).Seconds()
	out := Report{WallSeconds: wall, Tokens: r.trained, TokensPerSecond: ratio(float64(r.trained), wall),
		Phases: rows(r.phases, wall), Behind: rows(r.behind, wall)}
	for _, p := range out.Phases {
		out.PeakMB = max(out.PeakMB, p.PeakMB)
	}
	out.WaitDataSeconds, out.WaitDiskSeconds = out.Of(WaitData).Seconds, out.Of(WaitDisk).Seconds
	return out
}

func rows(list []*tally, wall float64) []Phase {
	out := make([]Phase, 0, len(list))
	for _, t := range list {
		s := t.time.Seconds()
		out = append(out, Phase{Name: t.phase, Seconds: s, Share: ratio(s, wall), Count: t.count, Tokens: t.tokens,
			TokensPerSecond: ratio(float64(t.tokens), s), PeakMB: float64(t.peak) / (1 << 20)})
	}
	slices.SortStableFunc(out, func(a, b Phase) int {
		switch {
		case a.Seconds > b.Seconds:
			return -1
		case a.Seconds < b.Seconds:
			return 1
		}
		return 0
	})
	return out
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// writeReport writes phases.json and phases.md; whole tells that the Go trace was not cut off.
func (r *Recorder) writeReport(whole bool) error {
	report := r.report()
	report.WholeTrace, report.WholeTimeline = whole, r.timeline.spans <= maxTimeline
	raw, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(r.tmp, ReportFile), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(r.tmp, TableFile), []byte(report.Markdown()), 0o644))
}

// Markdown is phases.md.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Where the time went\n\n%.2f s in all; %d tokens in steps, %.0f a second; at most %.0f MB resident.\n", r.WallSeconds, r.Tokens, r.TokensPerSecond, r.PeakMB)
	fmt.Fprintf(&b, "The compute goroutine waited %.3f s for data and %.3f s for disk.\n\n", r.WaitDataSeconds, r.WaitDiskSeconds)
	b.WriteString("| phase | seconds | share | times | tokens | tokens/s | peak MB |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, p := range r.Phases {
		fmt.Fprintf(&b, "| %s | %.3f | %.1f%% | %d | %s | %s | %.0f |\n", p.Name, p.Seconds, 100*p.Share, p.Count,
			blank(float64(p.Tokens)), blank(p.TokensPerSecond), p.PeakMB)
	}
	if len(r.Behind) > 0 {
		b.WriteString("\nBehind it, on other goroutines:\n\n| work | seconds | times |\n|---|---:|---:|\n")
		for _, p := range r.Behind {
			fmt.Fprintf(&b, "| %s | %.3f | %d |\n", p.Name, p.Seconds, p.Count)
		}
	}
	b.WriteString("\n`timeline.json` opens in https://ui.perfetto.dev, `trace.out` with `go tool trace`, `cpu.pprof` and `heap.pprof` with `go tool pprof`.\n")
	if !r.WholeTrace {
		fmt.Fprintf(&b, "`trace.out` was ended at %d MB; the rest covers the whole run.\n", maxTrace>>20)
	}
	if !r.WholeTimeline {
		fmt.Fprintf(&b, "`timeline.json` holds the first %d spans alone.\n", maxTimeline)
	}
	return b.String()
}

// blank prints a count, and nothing for none.
func blank(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", v)
}

// timeline writes spans as "complete" events of Chrome's trace format, as they end.
type timeline struct {
	file  *os.File
	w     *bufio.Writer
	began time.Time
	spans int
	err   error // first of a write
}

func newTimeline(path string, began time.Time) (*timeline, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	t := &timeline{file: f, w: bufio.NewWriterSize(f, 1<<16), began: began}
	_, t.err = t.w.WriteString(`[{"name":"thread_name","ph":"M","pid":1,"tid":0,"args":{"name":"compute"}}`)
	return t, nil
}

func (t *timeline) add(s Span, end time.Time) {
	if t.spans++; t.spans > maxTimeline || t.err != nil {
		return
	}
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	_, t.err = fmt.Fprintf(t.w, ",\n"+`{"name":%q,"ph":"X","pid":1,"tid":%d,"ts":%.3f,"dur":%.3f}`, s.phase, s.lane, micro(s.began.Sub(t.began)), micro(end.Sub(s.began)))
}

func (t *timeline) close() error {
	_, err := t.w.WriteString("]\n")
	return errors.Join(t.err, err, t.w.Flush(), t.file.Close())
}
