package redact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestURLsAreShownWithoutSecrets(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:80/p": "http://h:80/p",
		"http://user:secret@h:80/p?token=secret#x": "http://…@h:80/p?…",
		"http://secret@h":                          "http://…@h",
		"http://h?token=secret":                    "http://h?…",
		"http://a:se@cret@h/x@y":                   "http://…@h/x@y",
		"http://a:se%zzcret@h/":                    "http://…@h/",
		"/healthz?token=secret":                    "/healthz?…",
		"/healthz":                                 "/healthz",
		"http://[::1]:80/":                         "http://[::1]:80/",
	} {
		if got := URL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestErrorsOfHTTPAreShownWithoutSecrets(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://user:secret@192.0.2.1/?token=secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = http.DefaultClient.Do(req)
	got := Error(err)
	if strings.Contains(got.Error(), "secret") || !strings.Contains(got.Error(), "192.0.2.1") || !errors.Is(got, context.Canceled) {
		t.Errorf("got %v", got)
	}
	plain := fmt.Errorf("plain")
	if Error(plain) != plain || Error(nil) != nil {
		t.Error("another error has changed")
	}
}
