// What gonja needs to behave as the Jinja environment of transformers: its block trimming, its functions, no
// access to files, and errors that are one line.
package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// compile parses a template with the settings transformers uses: trim_blocks and lstrip_blocks.
func compile(source string) (program *exec.Template, err error) {
	defer recoverAs(&err)
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	return exec.NewTemplate(templateID, settings, sealed{source}, environment())
}

// execute renders a compiled template.
func execute(program *exec.Template, vars map[string]any) (text string, err error) {
	defer recoverAs(&err)
	text, err = program.ExecuteToString(exec.NewContext(vars))
	var raised raisedError
	if errors.As(err, &raised) {
		return "", raised
	}
	return text, err
}

// recoverAs turns a panic of the engine, which a hostile template may provoke, into an error.
func recoverAs(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the template engine failed: %v", p)
	}
}

const templateID = "chat_template"

// sealed is a loader that knows one template and refuses every include: a model's template has no business
// reading files.
type sealed struct{ source string }

// Read returns the template itself and nothing else.
func (s sealed) Read(path string) (io.Reader, error) {
	if path != templateID {
		return nil, fmt.Errorf("template wants to include %q, which is refused", path)
	}
	return strings.NewReader(s.source), nil
}

// Resolve returns the name as it is.
func (s sealed) Resolve(path string) (string, error) { return path, nil }

// Inherit keeps the seal.
func (s sealed) Inherit(string) (loaders.Loader, error) { return s, nil }

// raisedError is what a template reports through raise_exception.
type raisedError struct{ message string }

// Error returns the template's own words.
func (r raisedError) Error() string { return r.message }

// environment builds gonja's standard one with transformers' additions.
func environment() *exec.Environment {
	context := exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables)
	context.Set("raise_exception", func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
		return "", raisedError{args.First().String()}
	})
	context.Set("strftime_now", func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
		return strftime(time.Now(), args.First().String())
	})
	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	filters.Replace("tojson", toJSON)
	controls := exec.NewControlStructureSet(map[string]parser.ControlStructureParser{
		"generation": parseGeneration,
	}).Update(builtins.ControlStructures)
	return &exec.Environment{Context: context, Filters: filters, Tests: builtins.Tests,
		ControlStructures: controls, Methods: builtins.Methods}
}

// toJSON is Python's json.dumps(x, ensure_ascii=False): ", " and ": " between items, no HTML escapes.
func toJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	indent := ""
	if width, found := params.KwArgs["indent"]; found && width.IsInteger() {
		indent = strings.Repeat(" ", width.Integer())
	}
	text, err := dumpJSON(in.Interface(), indent)
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(text)
}

func dumpJSON(value any, indent string) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(value); err != nil {
		return "", err
	}
	text := strings.TrimRight(out.String(), "\n")
	if indent != "" {
		return text, nil
	}
	return spaceOut(text), nil
}

// spaceOut puts the blanks Python prints after "," and ":" outside strings into compact JSON.
func spaceOut(compact string) string {
	var b strings.Builder
	inString, escaped := false, false
	for _, c := range compact {
		b.WriteRune(c)
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// strftimeVerbs maps the verbs templates use to Go layouts.
var strftimeVerbs = map[byte]string{
	'd': "02", 'b': "Jan", 'B': "January", 'Y': "2006", 'y': "06", 'm': "01", 'H': "15", 'M': "04", 'S': "05",
	'A': "Monday", 'a': "Mon", 'I': "03", 'p': "PM", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05", 'e': "_2",
}

// strftime formats a time with C's verbs.
func strftime(now time.Time, format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		layout, found := strftimeVerbs[format[i]]
		switch {
		case found:
			b.WriteString(now.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		default:
			return "", fmt.Errorf("strftime_now: verb %%%c is not supported", format[i])
		}
	}
	return b.String(), nil
}

// generation is transformers' {% generation %} block, which marks assistant tokens and prints its body.
type generation struct {
	position *tokens.Token
	body     *nodes.Wrapper
}

// Position returns where the block began.
func (g *generation) Position() *tokens.Token { return g.position }

// String names the block for gonja's messages.
func (g *generation) String() string { return "generation" }

// Execute prints the body.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(g.body)
}

func parseGeneration(p *parser.Parser, _ *parser.Parser) (nodes.ControlStructure, error) {
	position := p.Current()
	body, _, err := p.WrapUntil("endgeneration")
	return &generation{position, body}, err
}
