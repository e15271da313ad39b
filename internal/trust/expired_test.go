package trust

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// A refusal names the times of the certificate that has ended: the component's, or that of the issuer above it. One that is not
// valid yet is refused alike.
func TestTheCertificateThatHasEndedIsNamed(t *testing.T) {
	a, dir := authority(t)
	i, k := issuer(t, a, dir, "web")
	made, err := sign(componentTemplate(Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}, time.Now(), 2*IssuerLife), i)
	if err != nil {
		t.Fatal(err)
	}
	long := []*x509.Certificate{made.cert, i.cert} // outlives its issuer, as Issue would not make it
	short := i.forged(t, Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}})
	for what, c := range map[string]struct {
		shown []*x509.Certificate
		at    time.Time
		late  *x509.Certificate // nil: it is good
	}{
		"all is valid":            {long, time.Now(), nil},
		"the issuer's has ended":  {long, i.cert.NotAfter.Add(time.Hour), i.cert},
		"the agent's has ended":   {short, short[0].NotAfter.Add(time.Hour), short[0]},
		"the agent's is not yet":  {short, short[0].NotBefore.Add(-time.Second), short[0]},
		"the agent's last second": {short, short[0].NotAfter, nil},
	} {
		_, err := k.current.Load().checkAt(c.shown, x509.ExtKeyUsageClientAuth, c.at)
		if c.late == nil {
			if err != nil {
				t.Errorf("%s: got %v", what, err)
			}
			continue
		}
		if reasonOf(err) != Expired {
			t.Errorf("%s: got %v, want %v", what, err, Expired)
			continue
		}
		for _, text := range []time.Time{c.late.NotBefore, c.late.NotAfter, c.at} {
			if want := text.UTC().Format(time.RFC3339); !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want it to name %s", what, err, want)
			}
		}
	}
}

// Which reason a refusal has is what metrics count: a certificate for connecting shown where one to be connected to is wanted is of the
// wrong role, and any other fault of a certificate is not.
func TestAFaultOfACertificateHasItsReason(t *testing.T) {
	a, dir := authority(t)
	i, k := issuer(t, a, dir, "web")
	foreign := i.forged(t, Subject{Identity{Master, "m2"}, Bounds{Pools: []string{"web"}}}) // the issuer's URI constraint permits agents alone
	agent, err := sign(componentTemplate(Subject{Identity: Identity{Agent, "r1"}}, time.Now(), time.Hour), a)
	if err != nil {
		t.Fatal(err)
	}
	template := componentTemplate(Subject{Identity: Identity{Agent, "r1"}}, time.Now(), time.Hour)
	template.URIs = nil
	nameless, err := sign(template, i)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		shown []*x509.Certificate
		usage x509.ExtKeyUsage
		want  Reason
	}{
		"an agent's, where a master's is wanted":  {[]*x509.Certificate{agent.cert}, x509.ExtKeyUsageServerAuth, WrongRole},
		"a name that its issuer may not sign for": {foreign, x509.ExtKeyUsageClientAuth, Unfit},
		"an issuer's without a name":              {[]*x509.Certificate{nameless.cert, i.cert}, x509.ExtKeyUsageClientAuth, Unfit},
		"nothing":                                 {nil, x509.ExtKeyUsageClientAuth, NoCertificate},
	} {
		if _, err := k.current.Load().check(c.shown, c.usage); reasonOf(err) != c.want {
			t.Errorf("%s: got %v (%v), want %v", what, err, reasonOf(err), c.want)
		}
	}
}
