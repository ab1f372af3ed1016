// Writes API.md, the reference, from the doc comments of what the package exports; with --check it
// only says whether that is current.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = `${root}API.md`
const { exports } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
const entries = Object.keys(exports)
  .filter((path) => !path.endsWith('.json'))
  .map((path) => [path, `${root}src/${path === '.' ? 'index' : path.slice(2)}.ts`])

const config = ts.getParsedCommandLineOfConfigFile(`${root}tsconfig.json`, {}, ts.sys)
const program = ts.createProgram(
  entries.map(([, file]) => file),
  config.options,
)
const checker = program.getTypeChecker()
const FLAGS =
  ts.TypeFormatFlags.NoTruncation |
  ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope |
  ts.TypeFormatFlags.InTypeAlias

const text = (symbol) =>
  ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/\s*\n\s*/g, ' ')
const ours = (declaration) => declaration?.getSourceFile().fileName.startsWith(`${root}src/`)
const sourceOf = (node) =>
  node
    .getText()
    .replace(/\/\*\*[\s\S]*?\*\//g, '')
    .replace(/\/\/ .*/g, '')
    .replace(/\s+/g, ' ')
    .trim()

/** The members of a class or interface that an application may use, those of its bases included. */
function members(symbol) {
  const type = checker.getDeclaredTypeOfSymbol(symbol)
  return type.getProperties().filter((member) => {
    const declaration = member.declarations?.[0]
    if (!ours(declaration) || ts.isPrivateIdentifier(declaration.name)) return false
    const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected
    return !(ts.getCombinedModifierFlags(declaration) & hidden)
  })
}

function signature(member) {
  const declaration = member.declarations[0]
  const type = checker.getTypeOfSymbolAtLocation(member, declaration)
  const name = member.name.startsWith('__@') ? `[Symbol.${member.name.split('@')[1]}]` : member.name
  const short = name.replace(/\.(\w+)@\d+/, '.$1')
  const [call] = type.getCallSignatures()
  const isMethod = ts.isMethodDeclaration(declaration) || ts.isMethodSignature(declaration)
  if (isMethod && call) {
    return `${short}${checker.signatureToString(call, declaration, FLAGS)}`
  }
  const optional = member.flags & ts.SymbolFlags.Optional ? '?' : ''
  return `${short}${optional}: ${checker.typeToString(type, declaration, FLAGS)}`
}

function describe(symbol) {
  const resolved = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  const declaration = resolved.declarations[0]
  const lines = [`### \`${symbol.name}\``, '', text(resolved)]
  if (ts.isClassDeclaration(declaration) || ts.isInterfaceDeclaration(declaration)) {
    for (const made of declaration.members?.filter(ts.isConstructorDeclaration) ?? []) {
      const parameters = made.parameters.map((parameter) => sourceOf(parameter)).join(', ')
      lines.push('', `- \`new ${symbol.name}(${parameters})\``)
    }
    lines.push('')
    for (const member of members(resolved)) {
      const told = text(member)
      lines.push(`- \`${signature(member)}\`${told && `: ${told}`}`)
    }
  } else if (ts.isTypeAliasDeclaration(declaration)) {
    lines.push('', `\`${sourceOf(declaration.type).replace(/^\| /, '')}\``)
  } else {
    const type = checker.getTypeOfSymbolAtLocation(resolved, declaration)
    const [call] = type.getCallSignatures()
    const shown = call
      ? `${symbol.name}${checker.signatureToString(call, declaration, FLAGS)}`
      : `${symbol.name}: ${checker.typeToString(type, declaration, FLAGS)}`
    lines.push('', `\`${shown}\``)
  }
  return `${lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim()}\n`
}

function chapter([path, file]) {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file))
  const name = `@bowline/client${path.slice(1)}`
  const symbols = checker.getExportsOfModule(module)
  symbols.sort((a, b) => (a.name < b.name ? -1 : 1))
  return `## \`${name}\`\n\n${symbols.map(describe).join('\n')}`
}

const written = `# API of @bowline/client

Generated from the doc comments by \`npm run api\`; changed there and nowhere else.

${entries.map(chapter).join('\n')}`
const current = ts.sys.readFile(target) ?? ''
if (process.argv.includes('--check')) {
  if (current !== written) {
    console.error('API.md is not that of the doc comments: run npm run api')
    process.exit(1)
  }
} else writeFileSync(target, written)
