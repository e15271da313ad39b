package settings

// hiddenError is an error whose text has the names of environment variables instead of their values.
type hiddenError struct {
	error
	text string
}

// Error returns the text that may be shown.
func (e hiddenError) Error() string { return e.text }

// Unwrap returns the error with its own text.
func (e hiddenError) Unwrap() error { return e.error }

// HideValues returns a text with the values of environment variables that the file uses replaced as the file writes
// them, for they may be secrets.
func (s *Settings) HideValues(text string) string {
	if s.hide == nil {
		return text
	}
	return s.hide(text)
}

// HideSecrets returns err as it may be shown: with HideValues of its text. It returns nil for nil.
func (s *Settings) HideSecrets(err error) error {
	if err == nil || s.HideValues(err.Error()) == err.Error() {
		return err
	}
	return hiddenError{err, s.HideValues(err.Error())}
}
