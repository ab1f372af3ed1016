/** The Russian catalogue. */

import type { Code } from '../codes/table.ts'
import type { Catalogue } from './recommendation.ts'

const REPEATED = 'Сообщения отправляются повторно.'
const UNREADABLE = 'Приложение отправило то, чего сервер не понимает.'
const ABSENT = 'Приложение запросило то, чего не существует.'

/** A sentence for every code. */
export const RUSSIAN_CODES: Record<Code, string> = {
  malformed: UNREADABLE,
  hello_expected: UNREADABLE,
  unknown_type: 'Приложение новее сервера.',
  too_deep: 'Сообщение слишком сложное.',
  bad_channel: ABSENT,
  bad_position: ABSENT,
  out_of_order: REPEATED,
  unauthorized: 'Пожалуйста, войдите снова.',
  token_expired: 'Срок вашего входа истёк.',
  forbidden: 'У вас нет доступа.',
  origin_not_allowed: 'Этой странице нельзя подключаться сюда.',
  disconnected: 'Сервис завершил это соединение.',
  hello_timeout: 'Соединение слишком медленное; пробуем снова.',
  stale: 'Соединение потеряно; подключаемся снова.',
  send_timeout: 'Соединение слишком медленное; подключаемся снова.',
  replaced: 'Этот сеанс открыт в другом месте.',
  message_too_big: 'Сообщение слишком большое.',
  rate_limited: 'Слишком много сообщений; подождите немного.',
  too_many_connections: 'Слишком много соединений; подождите немного.',
  too_many_attempts: 'Слишком много попыток; подождите немного.',
  too_many_subscriptions: 'Открыто слишком много всего сразу.',
  too_many_channels: 'Сервис переполнен; попробуйте позже.',
  too_many_inflight: REPEATED,
  not_subscribed: ABSENT,
  already_subscribed: 'Приложение дважды запросило одно и то же.',
  no_handler: 'Сервер не принимает такие сообщения.',
  handler_failed: 'Сообщение не удалось обработать; пробуем снова.',
  handler_timeout: 'Сообщение не удалось обработать вовремя; пробуем снова.',
  rejected: 'Сообщение не принято.',
  not_supported: 'Сервер этого не предлагает.',
  key_reused: 'Сообщение не принято.',
  storage_full: 'Сервис переполнен; пробуем снова.',
  storage_unavailable: 'Сервис сейчас недоступен; пробуем снова.',
  fate_unknown: 'Неизвестно, дошло ли сообщение; пробуем снова.',
  internal: 'На сервере что-то пошло не так; пробуем снова.',
  draining: 'Сервис обновляется; подключаемся снова.',
  overloaded: 'Сервис занят; пробуем снова.',
  not_found: 'Этого не существует.',
  method_not_allowed: 'Этого не существует.',
  unsupported_media_type: UNREADABLE,
  upgrade_required: 'Приложение не говорит на языке сервера.',
  headers_too_large: 'Запрос слишком большой.',
}

/** For `<connection-status>`: the words on its button. */
export const russianLabels: Record<string, string> = {
  retry: 'Повторить',
  login: 'Войти',
  reload: 'Перезагрузить',
  contact: 'Помощь',
  open: 'Соединение есть',
}

/** Russian. */
export const russian: Catalogue = {
  classes: {
    auth: ['Вход не выполнен', 'Пожалуйста, войдите снова.'],
    network: ['Нет соединения', 'Подключаемся снова.'],
    server: ['Сервис недоступен', 'Сервис сейчас недоступен; пробуем снова.'],
    rate_limit: ['Слишком много попыток', 'Подождите немного.'],
    policy: ['Нет доступа', 'У вас нет доступа.'],
    protocol: ['Что-то не совпадает', 'Пожалуйста, перезагрузите приложение.'],
    timeout: ['Медленное соединение', 'Соединение слишком медленное; пробуем снова.'],
  },
  offline: ['Нет сети', 'Подключимся, как только появится сеть.'],
  dormant: ['Всё ещё нет соединения', 'Время от времени пробуем снова.'],
  stopped: ['Соединения нет', 'Попробуйте ещё раз.'],
  slow: ['Медленное соединение', 'Сообщения могут опаздывать.'],
  codes: (code) => (Object.hasOwn(RUSSIAN_CODES, code) ? RUSSIAN_CODES[code as Code] : undefined),
}
