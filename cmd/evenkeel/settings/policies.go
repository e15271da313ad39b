package settings

import (
	"strings"

	"github.com/evenkeel-lb/evenkeel/policy"
)

func PolicyNames() string { return strings.Join(Policies(), ", ") }

func Policies() (names []string) {
	for _, row := range policy.Table {
		names = append(names, row.Name)
	}
	return names
}
