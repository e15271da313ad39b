package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one small change of one file.
type mutant struct {
	file       string // its path, as the go command has it
	function   string // that the change is in: Type.method, function, or the variable that is initialised
	kind       kind
	change     string // what is done: kind, before → after, on one line; the second of the same in a function ends in #2
	line       int    // where the change begins, from 1
	start, end int    // the bytes that are replaced
	with       string // what replaces a condition
	number     int    // within the room, from 1
}

type kind string

const (
	negatedCondition kind = "negated condition"
	boundary         kind = "boundary"
	droppedHalf      kind = "dropped half"
	droppedStatement kind = "dropped statement"
	droppedError     kind = "dropped error"
)

// find returns all mutants of a file, in the order of the text.
func find(file string, source []byte) ([]mutant, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &finder{fset: fset, file: file, source: source, whole: make(map[ast.Expr]bool), last: make(map[ast.Stmt]bool)}
	for _, decl := range tree.Decls {
		f.function = nameOf(decl)
		ast.Inspect(decl, f.visit)
	}
	slices.SortStableFunc(f.found, func(a, b mutant) int { return a.start - b.start })
	number(f.found)
	return f.found, nil
}

// number tells changes of one function apart that read the same.
func number(all []mutant) {
	seen := make(map[[2]string]int)
	for i := range all {
		m := &all[i]
		key := [2]string{m.function, m.change}
		if seen[key]++; seen[key] > 1 {
			m.change += fmt.Sprintf(" #%d", seen[key])
		}
	}
}

func nameOf(decl ast.Decl) string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && len(d.Recv.List) == 1 {
			return receiver(d.Recv.List[0].Type) + "." + d.Name.Name
		}
		return d.Name.Name
	case *ast.GenDecl:
		if len(d.Specs) > 0 {
			if v, ok := d.Specs[0].(*ast.ValueSpec); ok {
				return v.Names[0].Name
			}
		}
	}
	return "-"
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return "-"
}

type finder struct {
	fset     *token.FileSet
	file     string
	source   []byte
	function string
	whole    map[ast.Expr]bool // conditions that have been negated as a whole
	last     map[ast.Stmt]bool // statements that functions with results end with, and do not compile without
	found    []mutant
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST
	case *ast.FuncDecl:
		f.ending(n.Type, n.Body)
	case *ast.FuncLit:
		f.ending(n.Type, n.Body)
	case *ast.IfStmt:
		f.negate(n.Cond)
	case *ast.ForStmt:
		f.negate(n.Cond)
	case *ast.SwitchStmt:
		f.cases(n)
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.BlockStmt:
		f.drop(n.List)
	case *ast.CaseClause:
		f.drop(n.Body)
	case *ast.CommClause:
		f.drop(n.Body)
	}
	return true
}

// cases negates the conditions of a switch that switches on nothing.
func (f *finder) cases(s *ast.SwitchStmt) {
	if s.Tag != nil {
		return
	}
	for _, clause := range s.Body.List {
		for _, cond := range clause.(*ast.CaseClause).List {
			f.negate(cond)
		}
	}
}

// opposite has the comparisons that are negated by another operator.
var opposite = map[token.Token]token.Token{token.EQL: token.NEQ, token.NEQ: token.EQL}

// bounds has the comparisons that differ in what happens when both sides are equal.
var bounds = map[token.Token]token.Token{token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}

// negate negates a condition; nil is none.
func (f *finder) negate(cond ast.Expr) {
	if cond == nil {
		return
	}
	f.whole[cond] = true
	with := "!(" + f.text(cond) + ")"
	switch c := cond.(type) {
	case *ast.BinaryExpr:
		if to, ok := opposite[c.Op]; ok {
			with = f.operator(c, to)
		}
	case *ast.UnaryExpr:
		if c.Op == token.NOT {
			with = f.text(c.X)
		}
	}
	f.add(negatedCondition, cond, with)
}

func (f *finder) binary(b *ast.BinaryExpr) {
	if to, ok := opposite[b.Op]; ok && !f.whole[b] {
		f.add(negatedCondition, b, f.operator(b, to))
	}
	if to, ok := bounds[b.Op]; ok {
		f.add(boundary, b, f.operator(b, to))
	}
	if b.Op == token.LAND || b.Op == token.LOR {
		f.add(droppedHalf, b, f.text(b.X))
		f.add(droppedHalf, b, f.text(b.Y))
	}
}

// operator is the text of an expression with another operator.
func (f *finder) operator(b *ast.BinaryExpr, op token.Token) string {
	text, at := f.text(b), f.offset(b.OpPos)-f.offset(b.Pos())
	return text[:at] + op.String() + text[at+len(b.Op.String()):]
}

// ending drops the error that a function with results ends with, in the place of the return itself.
func (f *finder) ending(t *ast.FuncType, body *ast.BlockStmt) {
	if body == nil || t.Results == nil {
		return
	}
	f.keep(body.List)
	if len(body.List) == 0 {
		return
	}
	r, ok := body.List[len(body.List)-1].(*ast.ReturnStmt)
	if !ok {
		return
	}
	kind, ok := t.Results.List[len(t.Results.List)-1].Type.(*ast.Ident)
	if !ok || kind.Name != "error" || len(r.Results) != t.Results.NumFields() {
		return
	}
	at := r.Results[len(r.Results)-1]
	if name, ok := at.(*ast.Ident); !ok || name.Name != "nil" {
		f.add(droppedError, at, "nil")
	}
}

// keep keeps the last statement of a list, and of the lists within it, from being dropped.
func (f *finder) keep(list []ast.Stmt) {
	if len(list) == 0 {
		return
	}
	end := list[len(list)-1]
	f.last[end] = true
	switch s := end.(type) {
	case *ast.BlockStmt:
		f.keep(s.List)
	case *ast.IfStmt:
		f.keep(s.Body.List)
		if s.Else != nil {
			f.keep([]ast.Stmt{s.Else})
		}
	case *ast.SwitchStmt:
		f.clauses(s.Body)
	case *ast.TypeSwitchStmt:
		f.clauses(s.Body)
	case *ast.SelectStmt:
		f.clauses(s.Body)
	}
}

func (f *finder) clauses(body *ast.BlockStmt) {
	for _, s := range body.List {
		switch c := s.(type) {
		case *ast.CaseClause:
			f.keep(c.Body)
		case *ast.CommClause:
			f.keep(c.Body)
		}
	}
}

// drop drops statements, one each. Declarations stay, for what follows would not compile without them, and so do
// statements that hold others: their conditions are negated instead.
func (f *finder) drop(list []ast.Stmt) {
	for _, s := range list {
		if f.last[s] {
			continue
		}
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE || s.Tok == token.ASSIGN && allBlank(s.Lhs) {
				continue
			}
		case *ast.BranchStmt:
			if s.Tok == token.FALLTHROUGH { // which may not stand within an if
				continue
			}
		case *ast.ExprStmt, *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt, *ast.ReturnStmt:
		default:
			continue
		}
		f.add(droppedStatement, s, "")
	}
}

func allBlank(to []ast.Expr) bool {
	return !slices.ContainsFunc(to, func(e ast.Expr) bool { name, ok := e.(*ast.Ident); return !ok || name.Name != "_" })
}

func (f *finder) add(k kind, n ast.Node, with string) {
	shown := with
	if shown == "" {
		shown = "nothing"
	}
	f.found = append(f.found, mutant{file: filepath.ToSlash(f.file), function: f.function, kind: k,
		change: string(k) + ": " + oneLine(f.text(n)) + " → " + oneLine(shown),
		line:   f.fset.Position(n.Pos()).Line, start: f.offset(n.Pos()), end: f.offset(n.End()), with: with})
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.offset(n.Pos()):f.offset(n.End())])
}

// longest is how many characters of each side of a change are shown.
const longest = 160

// oneLine is code on one line, cut if it is long.
func oneLine(code string) string {
	text := []rune(strings.Join(strings.Fields(code), " "))
	if len(text) > longest {
		return string(text[:longest]) + "…"
	}
	return string(text)
}
