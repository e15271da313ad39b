package failing

import "testing"

func TestThatFails(t *testing.T) { t.Error("without any mutant") }
