package master

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file compiles a pool's utilization setting. The language is expr's, reduced to arithmetic: numbers,
// comparisons, ?:, ?? and a few functions. A metric is written by its name, such as cpu_utilization or
// named_metrics.kv_cache, or as metric("named_metrics.kv-cache"). A metric that was not reported is nil, which
// ?? replaces; any other use of nil leaves the utilization unknown.

// plain are ORCA's scalar metrics; orcaMaps are its maps.
var (
	plain    = []string{balance.CPUUtilization, balance.MemUtilization, balance.ApplicationUtilization, balance.RPS, balance.EPS}
	orcaMaps = []string{"named_metrics", "utilization", "request_cost"}
	builtins = []string{"min", "max", "abs", "ceil", "floor", "round", "mean", "sum"}
)

const longestFormula = 1000

// formula is one pool's, used under its lock. The machine and the environment are reused.
type formula struct {
	program *vm.Program
	machine vm.VM
	env     map[string]any
	read    func(name string) (float64, bool) // of the evaluation in progress
}

// newFormula compiles a formula; nil if it is empty. Its error names the column.
func newFormula(text string) (func(read func(name string) (float64, bool)) (float64, bool), error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > longestFormula {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(text), longestFormula)
	}
	f := &formula{}
	f.env = map[string]any{"metric": f.metric}
	reader := &names{}
	options := []expr.Option{expr.Env(f.env), expr.AsFloat64(), expr.Patch(reader), expr.DisableAllBuiltins()}
	for _, name := range builtins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	if reader.loop != nil {
		err = (&file.Error{Location: reader.loop.Location(), Message: "a formula has no loops"}).Bind(file.NewSource(text))
	}
	if err != nil {
		return nil, tellColumn(text, err)
	}
	f.program = program
	return f.evaluate, nil
}

func (f *formula) metric(name string) any {
	if value, ok := f.read(name); ok {
		return value
	}
	return nil
}

func (f *formula) evaluate(read func(name string) (float64, bool)) (float64, bool) {
	f.read = read
	out, err := f.machine.Run(f.program, f.env)
	f.read = nil
	value, ok := out.(float64)
	return value, err == nil && ok
}

// names rewrites metrics in a formula to calls of metric, and finds loops, which could make an evaluation
// slow.
type names struct{ loop ast.Node }

func (v *names) Visit(node *ast.Node) {
	name := ""
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if slices.Contains(plain, n.Value) {
			name = n.Value
		}
	case *ast.PredicateNode:
		v.loop = n
	case *ast.MemberNode:
		of, isName := n.Node.(*ast.IdentifierNode)
		member, isText := n.Property.(*ast.StringNode)
		if isName && isText && slices.Contains(orcaMaps, of.Value) {
			name = of.Value + "." + member.Value
		}
	}
	if name != "" {
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: "metric"}, Arguments: []ast.Node{&ast.StringNode{Value: name}}})
	}
}

// tellColumn returns an error with its place in the formula, on one line.
func tellColumn(text string, err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("%q: %s", text, inOurWords(err.Error()))
	}
	lines := strings.Split(text, "\n")
	where := []rune(lines[min(max(at.Line, 1), len(lines))-1])
	rest := string(where[min(at.Column, len(where)):])
	if rest == "" {
		rest = "the end"
	} else {
		rest = fmt.Sprintf("%q", clip(rest))
	}
	problem := inOurWords(at.Message) + meantMetric(at.Message, where, at.Column)
	if len(lines) > 1 {
		return fmt.Errorf("line %d, column %d, at %s: %s", at.Line, at.Column+1, rest, problem)
	}
	return fmt.Errorf("column %d, at %s: %s", at.Column+1, rest, problem)
}

// inOurWords rewords the compiler's messages for people who do not know the language.
func inOurWords(message string) string {
	switch {
	case strings.HasPrefix(message, "unexpected token EOF"):
		return "the formula ends here, though more has to follow"
	case strings.HasPrefix(message, "expected float64, but got "):
		return "want a number, got " + strings.TrimPrefix(message, "expected float64, but got ")
	}
	return message
}

// meantMetric suggests how the name at a column of a line is written, if that is what an error is about.
func meantMetric(message string, line []rune, column int) string {
	of := func(r rune) bool {
		return r == '_' || r == '.' || r == ':' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	from, to := min(column, len(line)), min(column, len(line))
	for from > 0 && of(line[from-1]) {
		from--
	}
	for to < len(line) && of(line[to]) {
		to++
	}
	name := string(line[from:to])
	bare, isNamed := strings.CutPrefix(name, "named_metrics.")
	switch {
	case name == "" || !strings.HasPrefix(message, "unknown name ") && !strings.Contains(name, ":"):
		return ""
	case to < len(line) && line[to] == '(':
		return "; functions are " + strings.Join(builtins, ", ")
	case strings.ContainsAny(bare, ":-"):
		return fmt.Sprintf("; such a name is written metric(%q)", "named_metrics."+bare)
	case !isNamed && !strings.Contains(name, "."):
		for _, known := range plain {
			if strings.HasPrefix(known, strings.SplitN(name, "_", 2)[0]+"_") {
				return "; did you mean " + known + "?"
			}
		}
		return fmt.Sprintf("; did you mean named_metrics.%s? By themselves stand %s", name, strings.Join(plain, ", "))
	}
	return ""
}
