//go:build integration && slow

package integration

// daemon is one row of the table: a real package of Debian, and what an operator does to use it. Empty fields have the row's name.
type daemon struct {
	name    string
	install string // packages
	rpm     string // if it comes as an RPM: what testdata/repack is told after the name
	unit    string // the unit that an operator names
	main    string // the unit that has the main process
	pid     string // command that prints the main process's id, for what systemd itself knows none of
	before  string // what an operator does before he installs it
	after   string // and after, before it can run: its configuration
	serves  string // succeeds while the daemon does its work
	// killed is how it is after its main process was killed with -9: "back", or the word of `systemctl is-active`.
	killed string
	// held is how it is as installed, if its own conditions keep it from running in a container until `after` is done.
	held string
}

func (d daemon) packages() string { return or(d.install, d.name) }
func (d daemon) service() string  { return or(d.unit, d.name) }
func (d daemon) mainUnit() string { return or(d.main, d.service()) }

func or(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

// port succeeds while something accepts connections there.
func port(number string) string { return "bash -c '</dev/tcp/127.0.0.1/" + number + "'" }

// page succeeds while there is an HTTP server with an answer, whatever it is.
func page(url string) string { return "curl -sS -m 20 -o /dev/null http://127.0.0.1" + url }

// debconf answers a package's question before it is asked.
func debconf(answer string) string { return "echo '" + answer + "' | debconf-set-selections" }

// certificate makes one that no one trusts.
const certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=it -days 2 -keyout /etc/ssl/it.pem -out /etc/ssl/it.crt 2>/dev/null && cat /etc/ssl/it.crt >>/etc/ssl/it.pem"

// machines are the table: a list for each instance. What wants the same port, or excludes each other as packages, is in different ones.
var machines = map[string][]daemon{
	"web": {
		{name: "nginx", serves: page("/")},
		{name: "redis-server", serves: "redis-cli ping | grep -q PONG"},
		{name: "memcached", serves: `bash -c 'exec 3<>/dev/tcp/127.0.0.1/11211; printf "version\r\n" >&3; read -t 5 -u 3 a; [[ $a == VERSION* ]]'`},
		{name: "cron", serves: "pgrep -x cron"},
		{name: "rsyslog", serves: "logger it-$$ && timeout 5 sh -c 'until grep -q it-'$$' /var/log/syslog; do :; done'"},
		{name: "openssh-server", unit: "ssh", serves: port("22")},
		{name: "php8.2-fpm", serves: "test -S /run/php/php8.2-fpm.sock && pgrep -f 'php-fpm: pool'"},
		{name: "haproxy", serves: "test -S /run/haproxy/admin.sock && pgrep -u haproxy -x haproxy"},
		{name: "beanstalkd", serves: port("11300")},
		{name: "supervisor", serves: "supervisorctl pid"},
		{name: "monit", serves: "pgrep -x monit"},
		{name: "stunnel4", serves: port("8443"), before: "apt-get install -y openssl && " + certificate,
			after: "printf 'pid=/run/stunnel4.pid\\n[it]\\naccept=8443\\nconnect=80\\ncert=/etc/ssl/it.pem\\n' >/etc/stunnel/it.conf && systemctl enable stunnel4 && systemctl restart stunnel4"},
	},
	"data": {
		{name: "apache2", serves: page("/")},
		{name: "postgresql", main: "postgresql@15-main", serves: "su postgres -c 'psql -Atc \"select 1\"'"},
		{name: "mariadb-server", unit: "mariadb", serves: "mysqladmin ping"},
		{name: "dnsmasq", serves: port("53")},
		{name: "vsftpd", serves: port("21")},
		{name: "postfix", main: "postfix@-", pid: "cat /var/spool/postfix/pid/master.pid", serves: port("25"),
			before: debconf("postfix postfix/main_mailer_type select Local only")},
		{name: "squid", serves: port("3128")},
		{name: "tinyproxy", serves: port("8888")},
		{name: "snmpd", serves: "grep -q ':00A1 ' /proc/net/udp"},
		{name: "zabbix-agent", serves: port("10050")},
		{name: "ntpsec", held: "inactive"},
	},
	"java": {
		{name: "lighttpd", serves: page("/")},
		{name: "varnish", serves: page(":6081/")},
		{name: "proftpd-basic", unit: "proftpd", serves: port("21")},
		{name: "tomcat10", serves: page(":8080/")},
		{name: "rabbitmq-server", serves: "rabbitmqctl -q ping"},
		{name: "uwsgi", serves: port("9090"), install: "uwsgi uwsgi-plugin-python3",
			after: "printf '[uwsgi]\\nplugins=python3\\nhttp-socket=127.0.0.1:9090\\nwsgi-file=/srv/it.py\\n' >/etc/uwsgi/apps-enabled/it.ini && " +
				"printf 'def application(e, r):\\n    r(\"200 OK\", [])\\n    return [b\"it\"]\\n' >/srv/it.py && systemctl restart uwsgi"},
		{name: "gunicorn", serves: page(":8000/"), after: "printf 'def app(e, r):\\n    r(\"200 OK\", [])\\n    return [b\"it\"]\\n' >/srv/g.py && " +
			"printf '[Unit]\\nDescription=an app\\nAfter=network.target\\n\\n[Service]\\nType=notify\\nUser=www-data\\nGroup=www-data\\nRuntimeDirectory=gunicorn\\n" +
			"WorkingDirectory=/srv\\nExecStart=/usr/bin/gunicorn -b 127.0.0.1:8000 g:app\\nExecReload=/bin/kill -s HUP $MAINPID\\nKillMode=mixed\\nTimeoutStopSec=5\\n\\n" +
			"[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/gunicorn.service && systemctl daemon-reload && systemctl enable --now gunicorn"},
		{name: "chrony", held: "inactive", serves: "chronyc -h /run/chrony/chronyd.sock tracking",
			after: "sed -i 's/^DAEMON_OPTS=.*/DAEMON_OPTS=\"-F 1 -x\"/' /etc/default/chrony && mkdir -p /etc/systemd/system/chrony.service.d && " +
				"printf '[Unit]\\nConditionCapability=\\n' >/etc/systemd/system/chrony.service.d/it.conf && systemctl daemon-reload && systemctl start chrony"},
	},
	"more": {
		{name: "bind9", unit: "named", serves: port("53")},
		{name: "dovecot-imapd", unit: "dovecot", serves: port("143")},
		{name: "exim4-daemon-light", unit: "exim4", serves: port("25")},
		{name: "samba", unit: "smbd", serves: port("445")},
		{name: "slapd", serves: port("389"), before: debconf("slapd slapd/password1 password it") + " && " + debconf("slapd slapd/password2 password it")},
		{name: "mosquitto", serves: port("1883")},
		{name: "tor", main: "tor@default", serves: port("9050")},
		{name: "at", unit: "atd", serves: "pgrep -x atd"},
		// As on every server without IPv6: its "host *" finds no address there.
		{name: "munin-node", serves: port("4949"),
			after: "sed -i 's/^host .*/host 127.0.0.1/' /etc/munin/munin-node.conf && systemctl reset-failed munin-node; systemctl restart munin-node"},
		{name: "nagios-nrpe-server", serves: port("5666")},
		{name: "prometheus-node-exporter", serves: page(":9100/metrics")},
		{name: "icecast2", serves: port("8000"), after: "sed -i 's/^ENABLE=.*/ENABLE=true/' /etc/default/icecast2; systemctl enable --now icecast2"},
		{name: "xinetd", serves: "pgrep -x xinetd"},
		{name: "rsync", serves: port("873"), held: "inactive", after: "printf '[it]\\npath=/srv\\n' >/etc/rsyncd.conf && systemctl enable --now rsync"},
	},
	"others": {
		{name: "avahi-daemon", serves: "pgrep -x avahi-daemon && test -S /run/avahi-daemon/socket", before: "apt-get install -y dbus && systemctl start dbus"}, // D-Bus and its own by sockets
		{name: "cups-daemon", unit: "cups", serves: page(":631/")},     // READY=1, and a socket in the file system
		{name: "kamailio", serves: "grep -q ':13C4 ' /proc/net/udp"},   // forks, with a PID file and a dozen workers
		{name: "shellinabox", serves: port("4200")},                    // an init script
		{name: "freeradius", serves: "grep -q ':0714 ' /proc/net/udp"}, // a watchdog
	},
	"rpm": {
		{name: "nginx", serves: page("/"), rpm: "sysv nginx - - nginx-common nginx",
			after: "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/ && systemctl reload nginx"},
		{name: "redis-server", serves: "redis-cli ping | grep -q PONG", rpm: "systemd redis-server redis /var/lib/redis,/var/log/redis redis-tools redis-server"},
		{name: "memcached", serves: port("11211"), rpm: "systemd memcached memcache - memcached"},
		{name: "haproxy", serves: "test -S /run/haproxy/admin.sock && pgrep -u haproxy -x haproxy", rpm: "sysv haproxy haproxy /var/lib/haproxy haproxy"},
		{name: "beanstalkd", serves: port("11300"), rpm: "systemd beanstalkd beanstalkd /var/lib/beanstalkd beanstalkd"},
		{name: "tinyproxy", serves: port("8888"), rpm: "sysv tinyproxy tinyproxy /var/log/tinyproxy tinyproxy-bin tinyproxy"},
		{name: "vsftpd", serves: port("21"), rpm: "sysv vsftpd ftp - vsftpd"},
		{name: "mosquitto", serves: port("1883"), rpm: "systemd mosquitto mosquitto /var/lib/mosquitto,/var/log/mosquitto mosquitto"},
		{name: "dnsmasq", serves: port("53"), rpm: "sysv dnsmasq dnsmasq - dnsmasq-base dnsmasq"},
		{name: "snmpd", serves: "grep -q ':00A1 ' /proc/net/udp", rpm: "systemd snmpd Debian-snmp /var/lib/snmp snmpd"},
	},
}
