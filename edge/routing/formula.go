package routing

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// The language of formulas is expr's without loops: numbers, texts, comparisons, ?:, ?? and a few functions. A request
// is read by header("x"), cookie("x"), query("x") and json("/pointer"), and by the names content_length, method, path
// and host. What the request does not have is an empty text, or nil of json and content_length.

var formulaBuiltins = []string{"min", "max", "abs", "ceil", "floor", "round", "int", "float", "string", "len", "lower", "upper", "trim", "trimPrefix", "trimSuffix"}

const maxFormula = 1000 // bytes

// formula is a compiled formula. It is safe for concurrent use.
type formula struct {
	program  *vm.Program
	pointers map[string]jsonPointer // that it reads
	ofBody   bool                   // it reads the request's body
	runs     sync.Pool              // of *formulaRun
}

// newFormula compiles a formula. number: it is to be a number. Its error names the column.
func newFormula(text string, number bool) (*formula, error) {
	if len(text) > maxFormula {
		return nil, fmt.Errorf("a formula of %d bytes, want at most %d", len(text), maxFormula)
	}
	f := &formula{pointers: make(map[string]jsonPointer)}
	f.runs.New = func() any { return newFormulaRun(f) }
	check := &formulaCheck{pointers: f.pointers}
	options := []expr.Option{expr.Env(formulaNames), expr.Patch(check), expr.DisableAllBuiltins()}
	for _, name := range formulaBuiltins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	switch {
	case check.problem != "":
		err = (&file.Error{Location: check.at.Location(), Message: check.problem}).Bind(file.NewSource(text))
	case err == nil:
		err = badResult(program.Node().Type(), number)
	}
	if err != nil {
		return nil, formulaError(text, err)
	}
	f.program, f.ofBody = program, check.ofBody
	return f, nil
}

// formulaNames are what a formula knows, and their types.
var formulaNames = types.Map{
	"header": types.TypeOf(func(string) string { return "" }),
	"cookie": types.TypeOf(func(string) string { return "" }),
	"query":  types.TypeOf(func(string) string { return "" }),
	ofJSON:   types.TypeOf(func(string) any { return nil }),

	"content_length": types.Any,
	"method":         types.String,
	"path":           types.String,
	"host":           types.String,
}

// badResult returns why a formula's result cannot be used; nil: it can, or that is found out when it runs.
func badResult(t reflect.Type, number bool) error {
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Float64, reflect.Interface:
		return nil
	case reflect.String, reflect.Bool:
		if !number {
			return nil
		}
		return fmt.Errorf("the result is a %s, want a number: float(header(\"x\")) makes one of a text", t.Kind())
	}
	return fmt.Errorf("the result is a %s, want a number or a text", t.Kind())
}

// formulaCheck finds what a formula must not do, and whether it reads the body.
type formulaCheck struct {
	pointers map[string]jsonPointer
	ofBody   bool
	at       ast.Node // where the problem is
	problem  string   // empty: none
}

// Visit implements ast.Visitor.
func (c *formulaCheck) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		c.at, c.problem = n, "a formula has no loops"
	case *ast.BinaryNode:
		_, constant := n.Right.(*ast.StringNode)
		switch {
		case n.Operator == "..":
			c.at, c.problem = n, "a formula has no ranges"
		case n.Operator == "matches" && !constant:
			c.at, c.problem = n, "want a pattern that is written in the formula, since one of a client may be expensive"
		}
	case *ast.IdentifierNode:
		c.ofBody = c.ofBody || n.Value == ofJSON
	case *ast.CallNode:
		if of, ok := n.Callee.(*ast.IdentifierNode); ok && of.Value == ofJSON && len(n.Arguments) == 1 {
			c.checkPointer(n.Arguments[0])
		}
	}
}

func (c *formulaCheck) checkPointer(argument ast.Node) {
	text, ok := argument.(*ast.StringNode)
	if !ok {
		c.at, c.problem = argument, "want a JSON pointer that is written in the formula, such as json(\"/options/frames\")"
		return
	}
	pointer, err := parseJSONPointer(text.Value)
	if err != nil {
		c.at, c.problem = argument, err.Error()
	}
	c.pointers[text.Value] = pointer
}

// formulaError returns an error with its column, on one line.
func formulaError(text string, err error) error {
	at, ok := errors.AsType[*file.Error](err)
	if !ok {
		return fmt.Errorf("formula: %w", err)
	}
	lines := strings.Split(text, "\n")
	line := []rune(lines[min(max(at.Line, 1), len(lines))-1])
	rest := "the end"
	if behind := line[min(at.Column, len(line)):]; len(behind) > 0 {
		rest = fmt.Sprintf("%.40q", string(behind))
	}
	problem, _, _ := strings.Cut(at.Message, "\n")
	if strings.HasPrefix(problem, "unknown name ") {
		problem += "; known are header, cookie, query, json, content_length, method, path, host and " + strings.Join(formulaBuiltins, ", ")
	}
	if len(lines) > 1 {
		return fmt.Errorf("formula: line %d, column %d, at %s: %s", at.Line, at.Column+1, rest, problem)
	}
	return fmt.Errorf("formula: column %d, at %s: %s", at.Column+1, rest, problem)
}

// formulaRun is what evaluating a formula needs, kept for the next one.
type formulaRun struct {
	machine    vm.VM
	env        map[string]any
	in         sourceInput // of the evaluation in progress
	unbuffered bool        // it has read a part of the body that is not there
	unreadable bool        // the body is no JSON, or something that it has read does not count
}

func newFormulaRun(f *formula) *formulaRun {
	r := new(formulaRun)
	r.env = map[string]any{
		"header": func(name string) string { return r.header(plainField(name)) },
		"cookie": func(name string) string { return cookie(r.in.All("cookie"), name) },
		"query":  func(name string) string { return parameter(r.in.Query, name) },
		ofJSON:   func(pointer string) any { return r.json(f.pointers[pointer]) },
	}
	return r
}

// header reads a field; empty: the request does not have it, or its value does not count.
func (r *formulaRun) header(name string) string {
	text, how := r.in.field(name)
	r.unreadable = r.unreadable || how == Unreadable
	return text
}

// json reads a value of the body; nil: it has none there.
func (r *formulaRun) json(p jsonPointer) any {
	text, isText, how := p.readTyped(r.in.Body)
	switch how {
	case Unbuffered:
		r.unbuffered = true
	case Unreadable:
		r.unreadable = true
	}
	switch n, err := strconv.ParseFloat(text, 64); {
	case how != Found:
		return nil
	case isText:
		return text
	case err == nil:
		return n
	case text == "true", text == "false":
		return text == "true"
	}
	r.unreadable = true // a number that is too large
	return nil
}

// evaluate returns the formula's result for a request.
func (f *formula) evaluate(in sourceInput) (string, Reading) {
	r := f.runs.Get().(*formulaRun)
	defer f.runs.Put(r)
	r.in, r.unbuffered, r.unreadable = in, false, false
	r.env["content_length"] = nil
	if in.ContentLength >= 0 {
		r.env["content_length"] = float64(in.ContentLength)
	}
	r.env["method"], r.env["path"], r.env["host"] = in.Method, in.Path, in.Host
	out, err := r.machine.Run(f.program, r.env)
	r.in = sourceInput{}
	r.env["method"], r.env["path"], r.env["host"] = "", "", ""
	text, isValue := resultText(out)
	switch {
	case err == nil && isValue && text != "":
		return text, Found
	case r.unbuffered:
		return "", Unbuffered
	case err == nil && !r.unreadable && (out == nil || isValue):
		return "", Absent
	}
	return "", Unreadable
}

// resultText returns a formula's result as text.
func resultText(out any) (string, bool) {
	switch v := out.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
