package recipe

// What the user sees: a line per event, since trainers print their own progress between them.

import (
	"fmt"
	"strings"
	"time"
)

// seconds shows a wall time: 0.8 s, 12.3 s, 3m20s.
func seconds(s float64) string {
	if s < 60 {
		return fmt.Sprintf("%.1f s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

func (r *Runner) printStage(i int, s *Stage, what string) {
	fmt.Fprintf(r.Console, "[%*d/%d] %-*s  %s\n", len(fmt.Sprint(len(r.Plan.Stages))), i+1, len(r.Plan.Stages), r.nameWidth(), s.Name, what)
}

func (r *Runner) nameWidth() int {
	width := 0
	for _, s := range r.Plan.Stages {
		width = max(width, len(s.Name))
	}
	return width
}

func (r *Runner) printSummary(took time.Duration) {
	n := len(r.Plan.Stages)
	fmt.Fprintf(r.Console, "recipe %s: %d stages, %d run, %d skipped, in %s: %s\n",
		r.Plan.Name, n, n-r.skipped, r.skipped, seconds(took.Seconds()), r.Plan.Out)
}

// printPlan lists variables and stages with what Run would do to each.
func (r *Runner) printPlan() {
	fmt.Fprintf(r.Console, "recipe %s: %d stages in %s\n", r.Plan.Name, len(r.Plan.Stages), r.Plan.Out)
	for _, v := range r.Plan.Vars {
		fmt.Fprintf(r.Console, "  %s = %s\n", v.Name, v.Value)
	}
	for i, s := range r.Plan.Stages {
		what := map[Status]string{Done: "done, would be skipped", Interrupted: "would resume", Waiting: "would run"}[r.state.Stages[i].Status]
		if r.open[s.Name] {
			what = "would run unless it is done with what will be chosen"
		}
		line := fmt.Sprintf("%-8s %s", s.Kind, what)
		if len(s.Needs) > 0 {
			line += ", after " + strings.Join(s.Needs, ", ")
		}
		r.printStage(i, s, line)
	}
}
