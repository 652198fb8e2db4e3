package options

// Reading YAML into positioned nodes. Values stay text until a field's type is known, so that `1e-5`, `.5` and
// `1_000` mean the same in a file, in --set and on the command line, and every complaint can name file and line.

import (
	"errors"
	"fmt"
	"math"
	"os"

	"salsa/internal/fault"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Kind says which shape a Node has.
type Kind int

// The shapes of a YAML value.
const (
	Scalar Kind = iota // Text holds the value, whatever its YAML type
	List               // Items holds the elements
	Map                // Entries holds the pairs, in file order
	Null               // nothing, `~` or `null`
)

// String names the kind as a user would.
func (k Kind) String() string {
	return [...]string{"a single value", "a list", "a mapping", "nothing"}[k]
}

// Node is one YAML value with the place it came from.
type Node struct {
	File    string // name shown in messages; "--set …" for values from the command line
	Line    int    // 1-based; 0 when File is not a file
	Kind    Kind
	Text    string
	Items   []*Node
	Entries []Entry
}

// Entry is one `key: value` pair of a mapping.
type Entry struct {
	Key   string
	Line  int
	Value *Node
}

// limits keep a hostile file (nested aliases) from filling memory.
const (
	maxYAMLBytes = 4 << 20
	maxYAMLNodes = 200_000
	maxYAMLDepth = 100 // the parser's time grows with the square of the depth
)

// Where returns "file:line", or the file name alone when there is no line.
func (n *Node) Where() string { return place(n.File, n.Line) }

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// Get returns the value of key in a mapping, or nil.
func (n *Node) Get(key string) *Node {
	for _, e := range n.Entries {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// Put replaces or appends a key of a mapping.
func (n *Node) Put(key string, value *Node) {
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			n.Entries[i] = Entry{key, value.Line, value}
			return
		}
	}
	n.Entries = append(n.Entries, Entry{key, value.Line, value})
}

// ReadYAML parses the YAML file at path; see ParseYAML.
func ReadYAML(path string) (*Node, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fault.Inputf("%s: no such file", path)
	case err != nil:
		return nil, fault.Inputf("%s: cannot read: %w", path, err)
	}
	return ParseYAML(path, data)
}

// ParseYAML turns one YAML document into nodes. name is what messages call the file. An empty document is an empty
// mapping. Duplicate keys, custom tags and a second document are errors; anchors, aliases and `<<` merges work.
func ParseYAML(name string, data []byte) (*Node, error) {
	if len(data) > maxYAMLBytes {
		return nil, fault.Inputf("%s: %d bytes is too long for a settings file (limit %d)", name, len(data), maxYAMLBytes)
	}
	if n := deepAt(data); n > 0 {
		return nil, fault.Inputf("%s:%d: brackets or dashes nested more than %d deep", name, n, maxYAMLDepth)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	r := yamlReader{name: name, anchors: map[string]*Node{}, sizes: map[string]int{}}
	var root *Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			return nil, fault.Inputf("%s: holds more than one YAML document; keep one", place(name, line(doc.Body)))
		}
		if root, err = r.read(doc.Body); err != nil {
			return nil, err
		}
	}
	if root == nil || root.Kind == Null {
		root = &Node{File: name, Line: 1, Kind: Map}
	}
	return root, nil
}

// deepAt returns the line where nesting passes maxYAMLDepth, or 0. It counts brackets and leading dashes without
// regard to quotes: no sane file comes near the limit.
func deepAt(data []byte) int {
	open, dashes, at := 0, 0, 1
	for _, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		case '-', '?':
			dashes++
		case ' ', '\t', '\r':
		case '\n':
			dashes = 0
			at++
		default:
			dashes = math.MinInt32 // dashes within text open nothing
		}
		if open > maxYAMLDepth || dashes > maxYAMLDepth {
			return at
		}
	}
	return 0
}

func syntaxError(name string, err error) error {
	var located yaml.Error
	if errors.As(err, &located) && located.GetToken() != nil {
		return fault.Inputf("%s:%d: not valid YAML: %s", name, located.GetToken().Position.Line, located.GetMessage())
	}
	return fault.Inputf("%s: not valid YAML: %v", name, err)
}

// yamlReader converts goccy's tree; it owns the anchors of one file.
type yamlReader struct {
	name    string
	anchors map[string]*Node
	sizes   map[string]int // nodes under each anchor, charged again at each alias
	nodes   int
}

func line(n ast.Node) int {
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		return tok.Position.Line
	}
	return 0
}

func (r *yamlReader) errorf(n ast.Node, format string, args ...any) error {
	return fault.Inputf("%s: %s", place(r.name, line(n)), fmt.Sprintf(format, args...))
}

func (r *yamlReader) read(n ast.Node) (*Node, error) {
	r.nodes++
	if r.nodes > maxYAMLNodes {
		return nil, r.errorf(n, "more than %d values once aliases are expanded", maxYAMLNodes)
	}
	out := &Node{File: r.name, Line: line(n)}
	switch v := n.(type) {
	case *ast.NullNode:
		out.Kind = Null
	case *ast.StringNode:
		out.Text = v.Value
	case *ast.LiteralNode:
		out.Text = v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out.Text = n.GetToken().Value
	case *ast.SequenceNode:
		return out, r.readList(out, v)
	case *ast.MappingNode:
		return out, r.readMap(out, v.Values)
	case *ast.MappingValueNode:
		return out, r.readMap(out, []*ast.MappingValueNode{v})
	case *ast.AnchorNode:
		return r.readAnchor(v)
	case *ast.AliasNode:
		return r.readAlias(v)
	default:
		return nil, r.errorf(n, "YAML %s is not supported here; write the value plainly", n.Type())
	}
	return out, nil
}

func (r *yamlReader) readAnchor(v *ast.AnchorNode) (*Node, error) {
	before, name := r.nodes, v.Name.GetToken().Value
	out, err := r.read(v.Value)
	if err != nil {
		return nil, err
	}
	r.anchors[name], r.sizes[name] = out, r.nodes-before
	return out, nil
}

func (r *yamlReader) readAlias(v *ast.AliasNode) (*Node, error) {
	name := v.Value.GetToken().Value
	out, ok := r.anchors[name]
	if !ok {
		return nil, r.errorf(v, "alias *%s has no anchor &%s above it", name, name)
	}
	if r.nodes += r.sizes[name]; r.nodes > maxYAMLNodes {
		return nil, r.errorf(v, "more than %d values once aliases are expanded", maxYAMLNodes)
	}
	return out, nil
}

func (r *yamlReader) readList(out *Node, v *ast.SequenceNode) error {
	out.Kind = List
	for _, item := range v.Values {
		child, err := r.read(item)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, child)
	}
	return nil
}

func (r *yamlReader) readMap(out *Node, pairs []*ast.MappingValueNode) error {
	out.Kind = Map
	var merged []*Node
	for _, pair := range pairs {
		value, err := r.read(pair.Value)
		if err != nil {
			return err
		}
		if pair.Key.IsMergeKey() {
			merged = append(merged, value)
			continue
		}
		key := keyText(pair.Key)
		if out.Get(key) != nil {
			return r.errorf(pair.Key, "key %s is given twice; keep one", key)
		}
		out.Entries = append(out.Entries, Entry{key, line(pair.Key), value})
	}
	for _, from := range merged {
		if from.Kind != Map {
			return fault.Inputf("%s: << must merge a mapping, not %s", from.Where(), from.Kind)
		}
		for _, e := range from.Entries {
			if out.Get(e.Key) == nil { // keys written out win over merged ones
				out.Entries = append(out.Entries, e)
			}
		}
	}
	return nil
}

func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}
