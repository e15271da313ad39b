package process

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// An edge that is pointed at an admin address is told which address is meant, and HTTP is served as ever.
func TestAdminAddressesTellEdgesWhereToGo(t *testing.T) {
	listener := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	admin, inside := listener(), listener()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	go func() {
		_ = ServeHTTP(t.Context(), newAdminListener(admin, MasterAddressHint(inside)), hello, slog.New(slog.DiscardHandler))
	}()
	conn, err := net.Dial("tcp", admin.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write((&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge, ID: "e1", Software: "evenkeel"}).Append(nil))
	answer, _ := io.ReadAll(conn)
	kind, payload, _, err := wire.Next(answer)
	var fail wire.Fail
	if err != nil || kind != wire.TFail || fail.Decode(payload) != nil || !strings.Contains(fail.Detail, inside.Addr().String()) {
		t.Errorf("got %q, %v, want a fail that names %s", answer, err, inside.Addr())
	}
	res, err := http.Get("http://" + admin.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if text, _ := io.ReadAll(res.Body); string(text) != "hello" {
		t.Errorf("HTTP is answered by %q", text)
	}
}
