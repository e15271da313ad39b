package settings

import (
	"errors"
	"fmt"

	"github.com/evenkeel-lb/evenkeel/internal/hint"
)

// Problems judges settings that came from flags.
func (s *Settings) Problems() error {
	var all []error
	s.validate(func(path, problem string) { all = append(all, fmt.Errorf("%s: %s", path, problem)) })
	if len(all) == 0 {
		return nil
	}
	return hint.Usage(errors.Join(all...))
}
