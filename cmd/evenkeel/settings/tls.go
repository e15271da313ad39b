package settings

// Validate finds what is missing of the three files.
func (t TLS) Validate(bad func(field, problem string)) {
	if t == (TLS{}) {
		return
	}
	for _, file := range []struct{ field, name string }{{"tls.cert", t.Cert}, {"tls.key", t.Key}, {"tls.ca", t.CA}} {
		if file.name == "" {
			bad(file.field, "empty, want the path of a PEM file, as evenkeel certs makes them; cert, key and ca go together")
		}
	}
}

const PlainAdvice = "give tls: { cert, key, ca } (evenkeel certs makes them), or --insecure if every host that can reach the address is trusted"
