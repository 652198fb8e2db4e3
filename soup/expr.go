package soup

// References as users write them: DIR, or DIR,DIR@w,w for a soup made on the fly.

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"salsa/internal/fault"
	"salsa/models"
)

// Expr is a model that may be a soup: member folders and their weights, which sum to 1.
type Expr struct {
	Dirs    []string
	Weights []float64
}

// ParseExpr reads DIR[,DIR…][@w,w…]. Without weights the members count equally. Text that names a folder as it stands,
// such as runs/sft@2, is that folder.
func ParseExpr(text string, extrapolate bool) (Expr, error) {
	if info, err := os.Stat(text); err == nil && info.IsDir() {
		return Expr{Dirs: []string{text}, Weights: []float64{1}}, nil
	}
	list, weights := text, ""
	if i := strings.LastIndex(text, "@"); i >= 0 && numbers(text[i+1:]) {
		list, weights = text[:i], text[i+1:]
	}
	e := Expr{}
	for _, dir := range strings.Split(list, ",") {
		if dir = strings.TrimSpace(dir); dir == "" {
			return Expr{}, fault.Inputf("%q: an empty folder name; want DIR or DIR,DIR@0.5,0.5", text)
		}
		e.Dirs = append(e.Dirs, dir)
	}
	var given []float64
	if weights != "" {
		for _, w := range strings.Split(weights, ",") {
			v, _ := strconv.ParseFloat(strings.TrimSpace(w), 64)
			given = append(given, v)
		}
	}
	var err error
	e.Weights, err = Weights(given, len(e.Dirs), extrapolate)
	return e, err
}

// numbers tells whether text is a list of numbers: a folder name may hold an @ too.
func numbers(text string) bool {
	for _, w := range strings.Split(text, ",") {
		if _, err := strconv.ParseFloat(strings.TrimSpace(w), 64); err != nil {
			return false
		}
	}
	return true
}

// String writes the expression as ParseExpr reads it.
func (e Expr) String() string {
	if len(e.Dirs) == 1 {
		return e.Dirs[0]
	}
	shares := make([]string, len(e.Weights))
	for i, w := range e.Weights {
		shares[i] = strconv.FormatFloat(w, 'g', -1, 64)
	}
	return strings.Join(e.Dirs, ",") + "@" + strings.Join(shares, ",")
}

// Names returns a short name for each member, unique within the expression.
func (e Expr) Names() []string {
	names := make([]string, len(e.Dirs))
	for i, dir := range e.Dirs {
		names[i] = filepath.Base(filepath.Clean(dir))
		for _, other := range names[:i] {
			if other == names[i] {
				names[i] += "_" + strconv.Itoa(i+1)
				break
			}
		}
	}
	return names
}

// Load returns the live model that e stands for; its weights belong to the caller's scope.
func (e Expr) Load(opt models.Options) (models.Model, error) {
	m, err := models.Load(e.Dirs[0], opt)
	if err != nil || len(e.Dirs) == 1 {
		return m, err
	}
	members, err := Open(e.Dirs)
	if err != nil {
		return nil, err
	}
	defer members.Close()
	return m, members.Mix(m, Linear(Fixed(e.Weights...)))
}
