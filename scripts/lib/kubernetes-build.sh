# Builds kube-apiserver and kube-controller-manager of Debian's source package in a folder: FOLDER/bin has them then.
# Run by scripts/kubernetes.sh as `kubernetes-build.sh FOLDER`.
set -euo pipefail
set -x

cd -- "$1"
readonly pool='deb-src http://deb.debian.org/debian bookworm main'

# Sources are in no list of a machine that does not ask for them: these lists are of this build alone.
mkdir -p lists/partial root bin go/src/k8s.io
printf '%s\n' "$pool" > sources.list
lists=(-o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$PWD/lists")
apt-get "${lists[@]}" update
apt-get "${lists[@]}" source --download-only kubernetes
apt-get download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev jq libjq1 libonig5 rsync libpopt0 libxxhash0
for package in *.deb; do dpkg-deb --extract "$package" root; done
dpkg-source --no-check --extract kubernetes_*.dsc go/src/k8s.io/kubernetes

# The vendored reflect2 reaches into Go's runtime where newer runtimes have something else: the server crashes with it.
reflect2=go/src/k8s.io/kubernetes/vendor/github.com/modern-go/reflect2
rm -rf -- "$reflect2"
cp -r -- root/usr/share/gocode/src/github.com/modern-go/reflect2 "$reflect2"

export LD_LIBRARY_PATH=$PWD/root/usr/lib/x86_64-linux-gnu:$PWD/root/lib/x86_64-linux-gnu
export PATH=$PWD/root/usr/lib/go-1.19/bin:$PWD/root/usr/bin:$PATH
export GOPATH=$PWD/go GOROOT=$PWD/root/usr/lib/go-1.19 GOCACHE=$PWD/cache GO111MODULE=off GOFLAGS='' CGO_ENABLED=0 HOME=$PWD
export GOMAXPROCS=${GOMAXPROCS:-$(nproc)} KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=debian
export KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20
make -C go/src/k8s.io/kubernetes WHAT='cmd/kube-apiserver cmd/kube-controller-manager'
cp -- go/src/k8s.io/kubernetes/_output/bin/kube-apiserver go/src/k8s.io/kubernetes/_output/bin/kube-controller-manager bin
strip bin/*
