package sim

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed scenarios/*.yaml
var scenarios embed.FS

// File is one canonical scenario as it is written.
type File struct {
	Name string // sim/scenarios/b1-4.yaml
	YAML []byte
}

// Canonical returns the file of the canonical scenario of a name, whatever its case,
// or else the files of those whose names begin with it: B1 finds B1-4, B1-16 and so
// on, nothing finds all. This room reads no YAML; whoever calls fills a Scenario.
func Canonical(word string) (files []File) {
	names, err := fs.Glob(scenarios, "scenarios/*.yaml")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	word = strings.ToLower(word)
	for _, name := range names {
		id := strings.TrimSuffix(strings.TrimPrefix(name, "scenarios/"), ".yaml")
		if id != word && !strings.HasPrefix(id, word+"-") && word != "" {
			continue
		}
		text, err := scenarios.ReadFile(name)
		if err != nil {
			panic(err) // it was found a moment ago
		}
		file := File{"sim/" + name, text}
		if id == word {
			return []File{file}
		}
		files = append(files, file)
	}
	return files
}
