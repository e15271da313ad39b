package settings

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

// Access is who may use a role's admin address, and where it is recorded.
type Access struct {
	Hosts  []string `yaml:"hosts" also:"names allowedhosts"`
	Cert   string   `yaml:"cert" also:"certificate"`
	Key    string   `yaml:"key" also:"private"`
	CA     string   `yaml:"ca" also:"authority clientca"`
	Denied string   `yaml:"denied" also:"crl revoked denylist"`
	Tokens string   `yaml:"tokens" also:"token bearer"`
	Audit  string   `yaml:"audit" also:"auditlog"`
	Pprof  bool     `yaml:"pprof" also:"profiles debug"`
}

func (p Access) Files() admin.Files {
	return admin.Files{Cert: p.Cert, Key: p.Key, CA: p.CA, Denied: p.Denied, Tokens: p.Tokens}
}

func (p Access) Validate(bad func(field, problem string)) {
	p.Files().Validate(func(field, problem string) { bad("admin_access."+field, problem) })
	for i, host := range p.Hosts {
		if host == "" || strings.ContainsAny(host, "/:@* \t") {
			bad(config.Item("admin_access.hosts", i), fmt.Sprintf("%q, want a name as it stands in URLs, without scheme and port, such as master.example", host))
		}
	}
}
