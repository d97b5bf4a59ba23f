import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Made for one test: an authority, and a server that it has signed for. */
export interface Certificates {
  /** PEM. */
  readonly ca: string
  /** Where they lie. */
  readonly files: { readonly ca: string; readonly certificate: string; readonly key: string }
}

/** For a server at 127.0.0.1, and by no other name. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const path = (name: string): string => join(folder, name)
  const request = ['req', '-newkey', 'rsa:2048', '-nodes', '-days', '2']
  await run('openssl', [...request, '-x509', '-subj', '/CN=Test authority', '-keyout', path('ca.key'), '-out', path('ca.pem')])
  await run('openssl', [...request, '-subj', '/CN=127.0.0.1', '-keyout', path('server.key'), '-out', path('server.csr')])
  await writeFile(path('extensions'), 'subjectAltName=IP:127.0.0.1')
  const sign = ['x509', '-req', '-days', '2', '-in', path('server.csr'), '-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-CAcreateserial']
  await run('openssl', [...sign, '-extfile', path('extensions'), '-out', path('server.pem')])
  return { ca: await readFile(path('ca.pem'), 'utf8'), files: { ca: path('ca.pem'), certificate: path('server.pem'), key: path('server.key') } }
}
