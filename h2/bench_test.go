package h2

import "testing"

func BenchmarkAppendFields(b *testing.B) {
	names := [][]byte{[]byte("X-Forwarded-For"), []byte("Forwarded"), []byte("X-Forwarded-Proto"), []byte("X-Forwarded-Host"), []byte("Via"), []byte("X-Request-Id"), []byte("Evenkeel-Edge"), []byte("Evenkeel-Pool"), []byte("endpoint-load-metrics-format"), []byte("Evenkeel-Lease"), []byte("content-type"), []byte("user-agent"), []byte("content-length"), []byte("date"), []byte("server"), []byte("accept")}
	value := []byte("127.0.0.1 and so on")
	dst := make([]byte, 0, 4096)
	for b.Loop() {
		dst = dst[:0]
		for _, n := range names {
			dst = AppendField(dst, n, value)
		}
	}
}
